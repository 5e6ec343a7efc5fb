import json

import pytest

from benchmarks import zero_downtime_report
from benchmarks.zero_downtime_report import Switch
from bgproxy.demo.ledger import Change, Kind, Ledger, Outcome, Request
from tests.benchmarks.examples import CIRCUMSTANCES

SETTINGS = {
    "seconds": 10.0,
    "switches": 1,
    "clients": 2,
    "think_s": 0.02,
    "workers": 2,
    "upstreams_per_side": 2,
}
SWITCH = Switch("green", 105.0, 105.004, 0.003)


def a_request(number: int, started: float, ms: float, version: str, **other: object) -> Request:
    request = Request(
        str(number), "GET", "/", started, started + ms / 1000, Outcome.ANSWERED, 200, version, "up"
    )
    return request._replace(**other)  # type: ignore[arg-type]


def a_ledger(*extra: Request) -> Ledger:
    """From 100 s on; a switch from v1 to v2 at 105 s; requests of 1 ms far from it and of 2 ms near it."""
    ledger = Ledger()
    ledger.changes = [
        Change(Kind.START, 0.0, 0.0, frozenset({"v1"})),
        Change(Kind.SWITCH, SWITCH.sent, SWITCH.acked, frozenset({"v2"})),
    ]
    far = [a_request(number, 100.0 + number / 10, 1.0, "v1") for number in range(10)]
    near = [a_request(100 + number, 105.01 + number / 100, 2.0, "v2") for number in range(5)]
    ledger.add([*far, *near, *extra])
    ledger.add_journal("up", [f"GET / {request.id}" for request in ledger.requests])
    return ledger


def test_the_figures_are_those_of_the_ledger() -> None:
    facts = zero_downtime_report.facts(a_ledger(), [SWITCH], "Nothing was lost.")
    assert (facts["requests"], facts["failures"], facts["stale"]) == (15, 0, 0)
    assert facts["answered_by"] == {"v1": 10, "v2": 5}
    assert facts["latency_ms"]["near"]["count"] == 5
    assert facts["latency_ms"]["near"]["p99"] == pytest.approx(2.0)
    assert facts["latency_ms"]["elsewhere"]["max"] == pytest.approx(1.0)
    assert facts["switches"] == [
        {"at_s": 5.0, "to": "green", "acknowledgement_ms": 4.0, "sync_ms": 3.0},
    ]
    assert facts["acknowledgement_ms"]["beyond the disk sync"]["max"] == pytest.approx(1.0)


def test_failures_and_stale_answers_are_in_the_report_with_their_kinds() -> None:
    ledger = a_ledger(
        a_request(900, 106.0, 1.0, "v1"),
        a_request(901, 107.0, 1.0, "", outcome=Outcome.RESET, status=0),
        a_request(902, 107.0, 1.0, "v2", status=502),
    )
    facts = zero_downtime_report.facts(ledger, [SWITCH], "Something was lost.")
    assert facts["failure_kinds"] == {"reset": 1, "answered 502": 1}
    report = zero_downtime_report.render({**CIRCUMSTANCES, "settings": SETTINGS, **facts})
    rows = {
        cells[0]: cells[1]
        for line in report.splitlines()
        if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 2
    }
    assert rows["failures"] == "2, 1 reset, 1 answered 502"
    assert rows["stale: started after the acknowledgement, answered by the old side"] == "1"
    assert "**Something was lost.**" in report


def test_a_result_is_json_that_makes_the_same_report() -> None:
    result = {
        **CIRCUMSTANCES,
        "settings": SETTINGS,
        **zero_downtime_report.facts(a_ledger(), [SWITCH], "Nothing was lost."),
    }
    stored = json.loads(json.dumps(result, allow_nan=False))
    assert zero_downtime_report.render(stored) == zero_downtime_report.render(result)


def test_where_there_is_nothing_to_measure_there_is_no_figure() -> None:
    ledger = Ledger()
    facts = zero_downtime_report.facts(ledger, [], "there was no load")
    assert facts["latency_ms"]["near"]["p50"] is None
    report = zero_downtime_report.render({**CIRCUMSTANCES, "settings": SETTINGS, **facts})
    assert "| elsewhere                 |     0 | none |" in report


def test_answers_are_counted_in_the_bin_in_which_they_ended() -> None:
    requests = [
        a_request(1, 99.9, 50.0, "v1"),
        a_request(2, 99.95, 100.0, "v1"),
        a_request(3, 100.1, 1.0, "v1"),
        a_request(4, 100.1, 1.0, "v2"),
        a_request(5, 100.6, 1.0, "v1"),
        a_request(6, 101.1, 1.0, "v1"),
    ]
    assert zero_downtime_report.per_bin(requests, "v1", 100.0, 2, 0.5) == [4.0, 2.0]


def test_a_run_through_tls_says_so_and_has_files_of_its_own() -> None:
    facts = zero_downtime_report.facts(a_ledger(), [SWITCH], "Nothing was lost.")
    results = {tls: {**CIRCUMSTANCES, "settings": {**SETTINGS, "tls": tls}, **facts} for tls in (False, True)}
    assert [zero_downtime_report.name(result) for result in results.values()] == [
        "zero-downtime",
        "zero-downtime-tls",
    ]
    assert "TLS" not in zero_downtime_report.render(results[False])
    report = zero_downtime_report.render(results[True])
    assert "2 closed-loop clients through TLS, " in report
    assert "(zero-downtime-tls.png)" in report
