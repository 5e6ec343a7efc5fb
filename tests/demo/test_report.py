import pytest

from bgproxy.demo import report
from bgproxy.demo.ledger import Change, Crash, Kind, Ledger, Outcome, Request

V1, V2 = frozenset({"v1"}), frozenset({"v2"})


def request(name: str, started: float, version: str, outcome: Outcome = Outcome.ANSWERED) -> Request:
    status = 200 if version else 0
    return Request(name, "POST", "/", started, started + 0.002, outcome, status, version, version)


@pytest.fixture
def ledger() -> Ledger:
    """One switch, a request on either side of it, everything well."""
    ledger = Ledger()
    ledger.changes += [Change(Kind.START, 0.0, 0.0, V1), Change(Kind.SWITCH, 10.0, 10.003, V2)]
    ledger.add([request("a", 5.0, "v1"), request("b", 10.1, "v2")])
    ledger.add_journal("v1", ["POST / a"])
    ledger.add_journal("v2", ["POST / b"])
    return ledger


def test_a_clean_history_is_a_good_end(ledger: Ledger) -> None:
    good, sentence = report.verdict(ledger, [])
    assert good
    assert (
        sentence
        == "Nothing was lost: 1 switches under load, 2 requests, every one answered by the right side."
    )


def test_what_a_killed_worker_took_is_told_but_not_held_against_it(ledger: Ledger) -> None:
    ledger.crashes.append(Crash(20.0, 20.001))
    ledger.add([request("c", 19.999, "", Outcome.RESET)])
    good, sentence = report.verdict(ledger, [])
    assert good
    assert "only the 1 inside the worker that was killed" in sentence


@pytest.mark.parametrize(
    ("bad", "processed", "told"),
    [
        (request("c", 12.0, "", Outcome.RESET), 0, "1 failed"),
        (request("c", 12.0, "v1"), 1, "1 answered by the wrong side"),
        (request("c", 12.0, "v2"), 2, "1 done twice"),
        (request("c", 12.0, "v2"), 0, "1 answered but not done"),
    ],
)
def test_any_violation_is_a_bad_end(ledger: Ledger, bad: Request, processed: int, told: str) -> None:
    ledger.add([bad])
    ledger.add_journal(bad.version, ["POST / c"] * processed)
    assert report.verdict(ledger, []) == (False, f"Something was lost: of 3 requests, {told}.")


def test_a_step_that_did_not_show_what_it_should_is_a_bad_end(ledger: Ledger) -> None:
    good, sentence = report.verdict(ledger, ["the switch was not refused"])
    assert not good
    assert sentence == "No request was lost, but not everything went as told: the switch was not refused."


def test_without_load_nothing_is_proven() -> None:
    assert report.verdict(Ledger(), []) == (False, "Nothing is proven: there was no load.")


def test_the_numbers_are_those_of_the_ledger(ledger: Ledger) -> None:
    ledger.add([request("c", 12.0, "", Outcome.RESET)])
    rows = dict(report.rows(ledger))
    assert rows["requests"] == "3 (100% POST); answered by v1 1, v2 1"
    assert rows["errors"] == "1 (1 reset)"
    assert rows["switches"] == "1; acknowledged within p50 3.0 ms, max 3.0 ms"
    assert rows["within 250 ms of a switch"] == "p50 2.0 ms, p99 2.0 ms"
    assert rows["elsewhere"] == "p50 2.0 ms, p99 2.0 ms"
