"""What the clients of a row saw, what its upstreams did, and what follows. Pure; it must never excuse by the number
what can be excused by the request.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from bgproxy.demo.ledger import Outcome, Request

FAULTY: Final = "a"  # the upstream that misbehaves

# How a request fails, besides an answer with another status than 200, which is named by its number.
KINDS: Final = {
    Outcome.RESET: "aborted",
    Outcome.TRUNCATED: "aborted",
    Outcome.MALFORMED: "foreign bytes",
    Outcome.WRONG_ID: "foreign bytes",
    Outcome.WRONG_BODY: "wrong body",
    Outcome.REFUSED: "refused",
    Outcome.UNANSWERED: "unanswered",
}


class Event(NamedTuple):
    """A line of an upstream's journal."""

    what: str
    method: str
    id: str
    at: float

    @classmethod
    def from_line(cls, line: str) -> Event:
        what, method, name, at = line.split()
        return cls(what, method, name, float(at))


class Books(NamedTuple):
    """One row. `moments` are what happened when, on the one clock that all processes share."""

    requests: list[Request]
    journals: dict[str, list[Event]]
    moments: dict[str, float]

    def failures(self) -> dict[str, str]:
        """The kind of each failure by the id of its request."""
        return {each.id: kind(each) for each in self.requests if not each.ok}

    def ids(self, what: str, *upstreams: str, method: str = "") -> list[str]:
        """Those of such events, in order; of all upstreams and methods, or of these."""
        return [
            event.id
            for name in upstreams or self.journals
            for event in self.journals[name]
            if event.what == what and method in {"", event.method}
        ]

    def unanswered(self, upstream: str) -> set[str]:
        """What an upstream has read and not answered."""
        return set(self.ids("got", upstream)) - set(self.ids("done", upstream))

    def between(self, begin: str, end: str) -> set[str]:
        """What was under way at some time between two moments."""
        first, last = self.moments[begin], self.moments[end]
        return {each.id for each in self.requests if each.started <= last and each.ended >= first}

    def done_twice(self) -> int:
        """POSTs that more than one upstream, or one more than once, has read whole."""
        return _repeated(self.ids("got", method="POST"))

    def repeated_there(self) -> int:
        """Requests that came to the same upstream again."""
        return sum(_repeated(self.ids("got", name)) for name in self.journals)

    def never_done(self) -> int:
        """Requests that were answered with 200, and that no upstream has read."""
        return len({each.id for each in self.requests if each.ok} - set(self.ids("got")))

    def peak(self) -> int:
        """The most requests that any upstream had at once."""
        most = 0
        for events in self.journals.values():
            at_once: set[str] = set()
            for event in events:
                if event.what == "got":
                    at_once.add(event.id)
                else:
                    at_once.discard(event.id)
                most = max(most, len(at_once))
        return most

    def share(self, upstream: str) -> float:
        """Of all requests that upstreams have read."""
        return len(self.ids("got", upstream)) / max(1, len(self.ids("got")))


def kind(request: Request) -> str:
    return str(request.status) if request.outcome is Outcome.ANSWERED else KINDS[request.outcome]


# Private


def _repeated(ids: list[str]) -> int:
    return sum(count > 1 for count in Counter(ids).values())
