"""Books of a small run, and its result as it is stored."""

from typing import Any

from benchmarks.cutover import facts
from benchmarks.cutover.play import Books
from benchmarks.cutover.yardstick import Commit
from benchmarks.zero_downtime_report import Switch
from bgproxy.demo.ledger import Change, Kind, Outcome, Request
from tests.benchmarks.examples import CIRCUMSTANCES

TO_GREEN = Switch("green", 105.0, 105.004, 0.003)
TO_BLUE = Switch("blue", 110.0, 110.006, 0.003)


def a_request(name: str, started: float, ms: float, version: str, **other: object) -> Request:
    request = Request(name, "POST", "/", started, started + ms / 1000, Outcome.ANSWERED, 200, version, "up")
    return request._replace(**other)  # type: ignore[arg-type]


def some_books(*extra: Request) -> Books:
    """From 100 s on, a request of 1 ms every 10 ms; to green at 105 s and back at 110 s, at once and without a loss."""
    books = Books(
        switches=[TO_GREEN, TO_BLUE], commits=[Commit(107.5, 107.503)], empty_calls_s=[0.001], cpu_s=0.0021
    )
    books.ledger.changes = [
        Change(Kind.START, 0.0, 0.0, frozenset({"v1"})),
        Change(Kind.SWITCH, TO_GREEN.sent, TO_GREEN.acked, frozenset({"v2"})),
        Change(Kind.SWITCH, TO_BLUE.sent, TO_BLUE.acked, frozenset({"v1"})),
    ]
    steady = [
        a_request(f"steady-{number}", 100.005 + number / 100, 1.0, "v2" if 500 <= number < 1000 else "v1")
        for number in range(1500)
    ]
    books.ledger.add([*steady, *extra])
    books.ledger.add_journal("up", [f"POST / {request.id}" for request in books.ledger.requests])
    return books


def a_result(*extra: Request, requests: int = 0) -> dict[str, Any]:
    """Of bgproxy; with `requests`, of a long run."""
    return {
        **CIRCUMSTANCES,
        "settings": {
            "seconds": None if requests else 15.0,
            "requests": requests,
            "switches": 2,
            "clients": 2,
            "think_s": 0.02,
            "gap_s": 1.0,
            "workers": 2,
            "upstreams_per_side": 2,
        },
        "proxies": {"bgproxy": {"version": "0.1.0", "way": "`POST`", **facts.of(some_books(*extra))}},
    }
