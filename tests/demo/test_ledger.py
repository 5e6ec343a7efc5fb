from dataclasses import dataclass, field
from itertools import count
from math import inf, isnan

import pytest

from bgproxy.demo.ledger import NEAR_S, Change, Crash, Kind, Ledger, Outcome, Request, quantile

V1, V2 = frozenset({"v1"}), frozenset({"v2"})


@dataclass
class History(Ledger):
    """A history made by hand: blue is v1, green is v2, and everything is well unless a test says so."""

    ids: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        super().__init__()
        self.changes.append(Change(Kind.START, 0.0, 0.0, V1))

    def request(
        self,
        started: float,
        ended: float,
        version: str = "v1",
        *,
        outcome: Outcome = Outcome.ANSWERED,
        status: int = 200,
        method: str = "POST",
        path: str = "/",
        preview: bool = False,
        processed: int = 1,
    ) -> Request:
        upstream = {"v1": "blue-1", "v2": "green-1"}.get(version, "")
        name = f"r{next(self.ids)}"
        request = Request(name, method, path, started, ended, outcome, status, version, upstream, preview)
        self.add([request])
        self.add_journal(upstream, [f"{method} {path} {name}"] * processed)
        return request

    def switch(self, sent: float, acked: float, versions: frozenset[str], kind: Kind = Kind.SWITCH) -> None:
        self.changes.append(Change(kind, sent, acked, versions))

    def findings(self) -> dict[str, list[str]]:
        """Every verdict that found something."""
        verdicts: dict[str, list[Request] | list[str]] = {
            "errors": self.errors(),
            "stale": self.stale(),
            "duplicates": self.duplicates(),
            "unanswered": self.unanswered(),
            "unprocessed": self.unprocessed(),
            "lost in crash": self.lost_in_crash(),
        }
        return {
            name: [each if isinstance(each, str) else each.id for each in found]
            for name, found in verdicts.items()
            if found
        }


@pytest.fixture
def history() -> History:
    """Two requests on either side of a switch from 10.0 to 10.1."""
    history = History()
    history.request(9.0, 9.1, "v1")
    history.switch(10.0, 10.1, V2)
    history.request(11.0, 11.1, "v2")
    return history


def test_a_history_without_violations_has_no_findings(history: History) -> None:
    assert history.findings() == {}


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.ANSWERED])
def test_a_request_without_a_right_answer_is_an_error(history: History, outcome: Outcome) -> None:
    lost = history.request(12.0, 12.1, "", outcome=outcome, status=0, processed=0)
    expected = {"errors": [lost.id]}
    if outcome is Outcome.UNANSWERED:
        expected["unanswered"] = [lost.id]
    assert history.findings() == expected


@pytest.mark.parametrize("status", [400, 404, 500, 502, 503, 302])
def test_an_answer_that_is_not_200_is_an_error(history: History, status: int) -> None:
    failed = history.request(12.0, 12.1, "", status=status, processed=0)
    assert history.findings() == {"errors": [failed.id]}


def test_an_answer_of_the_side_that_was_left_is_stale(history: History) -> None:
    stale = history.request(10.2, 10.3, "v1")
    assert history.findings() == {"stale": [stale.id]}


def test_an_answer_of_a_side_that_traffic_has_not_reached_yet_is_stale(history: History) -> None:
    stale = history.request(8.0, 8.1, "v2")
    assert history.findings() == {"stale": [stale.id]}


def test_a_request_that_started_before_the_acknowledgement_may_be_answered_by_either_side(
    history: History,
) -> None:
    history.request(9.9, 12.0, "v1")
    history.request(10.05, 10.06, "v1")
    history.request(10.05, 10.06, "v2")
    assert history.findings() == {}


def test_a_request_that_ended_after_the_next_switch_was_sent_may_be_answered_by_the_side_it_goes_to(
    history: History,
) -> None:
    history.switch(20.0, 20.1, V1)
    history.request(19.9, 20.05, "v1")
    stale = history.request(19.9, 19.99, "v1")
    assert history.findings() == {"stale": [stale.id]}


def test_both_sides_may_answer_while_a_switch_is_not_acknowledged(history: History) -> None:
    history.switch(20.0, inf, V1)
    history.request(30.0, 30.1, "v1")
    history.request(30.0, 30.1, "v2")
    assert history.findings() == {}


def test_an_acknowledged_change_ends_one_before_it_that_never_was(history: History) -> None:
    history.switch(20.0, inf, V1)
    history.switch(30.0, 30.1, V2)
    stale = history.request(31.0, 31.1, "v1")
    assert history.findings() == {"stale": [stale.id]}


def test_both_sides_may_answer_during_a_canary_but_not_after_it(history: History) -> None:
    history.switch(20.0, 20.1, V1 | V2, Kind.CANARY)
    history.request(21.0, 21.1, "v1")
    history.request(21.0, 21.1, "v2")
    history.switch(30.0, 30.1, V2, Kind.CANARY)
    stale = history.request(31.0, 31.1, "v1")
    assert history.findings() == {"stale": [stale.id]}


def test_a_preview_is_never_stale(history: History) -> None:
    history.request(12.0, 12.1, "v1", preview=True)
    assert history.findings() == {}


def test_a_post_that_was_processed_twice_is_a_duplicate(history: History) -> None:
    twice = history.request(12.0, 12.1, "v2", processed=2)
    assert history.findings() == {"duplicates": [twice.id]}


def test_a_post_that_two_upstreams_processed_is_a_duplicate(history: History) -> None:
    twice = history.request(12.0, 12.1, "v2")
    history.add_journal("green-2", [f"POST / {twice.id}"])
    assert history.findings() == {"duplicates": [twice.id]}


def test_a_get_may_be_processed_twice(history: History) -> None:
    history.request(12.0, 12.1, "v2", method="GET", processed=2)
    assert history.findings() == {}


def test_an_answer_that_no_upstream_knows_of_is_unprocessed(history: History) -> None:
    forged = history.request(12.0, 12.1, "v2", processed=0)
    assert history.findings() == {"unprocessed": [forged.id]}


def test_requests_that_a_killed_worker_took_with_it_are_reported_apart(history: History) -> None:
    history.crashes.append(Crash(20.0, 20.01))
    inside = history.request(19.9, 20.005, "", outcome=Outcome.RESET, status=0)
    torn = history.request(19.8, 20.02, "", outcome=Outcome.TRUNCATED, status=0)
    assert history.findings() == {"lost in crash": [inside.id, torn.id]}


def test_a_crash_excuses_no_other_failure(history: History) -> None:
    history.crashes.append(Crash(20.0, 20.01))
    guilty = [
        history.request(19.8, 19.9, "", outcome=Outcome.RESET, status=0),
        history.request(19.9, 20.005, "", outcome=Outcome.REFUSED, status=0),
        history.request(19.9, 20.005, "v2", outcome=Outcome.WRONG_ID),
        history.request(19.9, 20.005, "", status=502),
        history.request(19.9, 25.0, "", outcome=Outcome.RESET, status=0),
        history.request(20.2, 20.21, "", outcome=Outcome.RESET, status=0),
    ]
    assert [each.id for each in history.errors()] == [each.id for each in guilty]
    assert history.lost_in_crash() == []


def test_latencies_near_switches_are_told_from_those_elsewhere() -> None:
    history = History()
    history.switch(10.0, 10.1, V1)
    history.request(10.1 + NEAR_S - 0.01, 10.1 + NEAR_S + 0.02)
    history.request(10.0 - NEAR_S - 0.02, 10.0 - NEAR_S + 0.01)
    history.request(10.1 + NEAR_S + 0.01, 10.1 + NEAR_S + 0.06)
    history.request(10.0 - NEAR_S - 0.06, 10.0 - NEAR_S - 0.01)
    near, elsewhere = history.latencies()
    assert near == pytest.approx([0.03, 0.03])
    assert elsewhere == pytest.approx([0.05, 0.05])


def test_latencies_leave_out_what_is_slow_on_purpose_or_tells_of_no_user() -> None:
    history = History()
    history.switch(10.0, 11.0, V1, Kind.HOLD)
    history.request(10.5, 11.0)
    history.request(11.1, 11.2)
    history.request(20.0, 20.1, path="/slow")
    history.request(20.0, 20.1, preview=True)
    history.request(20.0, 20.1, "", outcome=Outcome.RESET)
    assert history.latencies() == ([], [])


def test_overlapping_windows_of_a_burst_of_switches_count_as_one() -> None:
    history = History()
    for number in range(10):
        history.switch(10.0 + number / 10, 10.05 + number / 10, V1 if number % 2 else V2)
    history.request(9.8, 9.81)
    history.request(10.5, 10.51)
    history.request(11.1, 11.11)
    near, elsewhere = history.latencies()
    assert (len(near), len(elsewhere)) == (3, 0)


def test_requests_are_counted_per_version_by_clients_and_per_upstream_by_journals(history: History) -> None:
    history.add_journal("green-2", ["GET / of-somebody-else"])
    assert history.per_version(history.requests) == {"v1": 1, "v2": 1}
    assert history.processed_by(history.requests) == {"blue-1": 1, "green-1": 1}


def test_between_takes_only_what_lies_wholly_inside(history: History) -> None:
    inside = history.request(12.0, 13.0, "v2")
    history.request(12.0, 12.5, "v1", preview=True)
    assert history.between(11.05, 13.5) == [inside]
    assert history.between(12.0, 13.5) == []
    assert history.between(11.5, 13.0) == []


def test_recent_is_what_was_reported_last(history: History) -> None:
    assert [each.version for each in history.recent(10.0)] == ["v2"]


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert quantile([7.0], 0.99) == 7.0
    assert isnan(quantile([], 0.5))


def test_a_request_survives_being_written_as_a_line() -> None:
    request = Request(
        "a-1", "GET", "/slow", 0.1 + 0.2, 1e9 / 3, Outcome.WRONG_ID, 502, "", "blue-1", preview=True
    )
    assert Request.from_line(request.line()) == request
