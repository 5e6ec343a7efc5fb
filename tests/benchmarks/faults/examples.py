"""Books of rows that never happened."""

from __future__ import annotations

from benchmarks.faults.books import Books, Event
from bgproxy.demo.ledger import Outcome, Request


def a_request(name: str, method: str = "GET", **other: object) -> Request:
    """Answered with 200, between 10 s and 11 s."""
    request = Request(name, method, "/", 10.0, 11.0, Outcome.ANSWERED, 200)
    return request._replace(**other)  # type: ignore[arg-type]


def an_event(what: str, name: str, method: str = "GET") -> Event:
    return Event(what, method, name, 10.5)


def the_books(*requests: Request, a: tuple[Event, ...] = (), b: tuple[Event, ...] | None = None) -> Books:
    """Unless it is told otherwise, upstream `b` has done everything that `a` has not."""
    had = {event.id for event in a}
    if b is None:
        b = tuple(
            an_event(what, each.id, each.method)
            for each in requests
            if each.id not in had
            for what in ("got", "done")
        )
    return Books([*requests], {"a": [*a], "b": [*b]}, {"killed": 10.5, "back": 12.0})
