"""The books: what every client saw, what every upstream did, what was acknowledged, and what follows.

Pure values and verdicts. It must never do I/O, and never excuse anything that it was not told of: a request
is lost unless the books show why it is not. All times are `time.monotonic`, one clock for all processes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import takewhile
from math import ceil, inf
from typing import Final, NamedTuple

NEAR_S: Final = 0.25  # "near a switch"
# How long after a crash a client may take to see that its connection is gone.
CRASH_NOTICE_S: Final = 0.1


class Outcome(StrEnum):
    """How a request ended for its client. Only `ANSWERED` can be a success, with status 200."""

    ANSWERED = "answered"
    REFUSED = "refused"  # no connection
    RESET = "reset"  # the connection ended before the answer began
    TRUNCATED = "truncated"  # the connection ended in mid-answer
    MALFORMED = "malformed"  # not HTTP, or bytes that nobody had asked for
    WRONG_ID = "wrong id"  # the answer to another request
    WRONG_BODY = "wrong body"  # a digest or content that is not the one of this request
    UNANSWERED = "unanswered"  # still waiting when the load ended


class Request(NamedTuple):
    """One request as its client saw it. Without an answer, status is 0, version and upstream are empty."""

    id: str
    method: str
    path: str
    started: float
    ended: float
    outcome: Outcome
    status: int = 0
    version: str = ""
    upstream: str = ""
    preview: bool = False

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.ANSWERED and self.status == 200

    def line(self) -> str:
        """As text, for a file; `from_line` reads it."""
        return (
            f"{self.id}\t{self.method}\t{self.path}\t{self.started!r}\t{self.ended!r}\t{self.outcome}"
            f"\t{self.status}\t{self.version}\t{self.upstream}\t{int(self.preview)}\n"
        )

    @classmethod
    def from_line(cls, line: str) -> Request:
        name, method, path, started, ended, outcome, status, version, upstream, preview = line.rstrip(
            "\n"
        ).split("\t")
        return cls(
            name,
            method,
            path,
            float(started),
            float(ended),
            Outcome(outcome),
            int(status),
            version,
            upstream,
            preview == "1",
        )


class Kind(StrEnum):
    START = "start"
    CANARY = "canary"
    SWITCH = "switch"
    HOLD = "hold"  # a switch with a hold: requests wait on purpose


class Change(NamedTuple):
    """From `acked` on only `versions` may answer; between `sent` and `acked` those before may, too."""

    kind: Kind
    sent: float
    acked: float  # inf: never acknowledged, so that both sides may go on answering
    versions: frozenset[str]


class Crash(NamedTuple):
    """A worker was killed at `sent` and its sockets were closed by `gone`."""

    sent: float
    gone: float


class Ledger:
    """Requests and journals in any order; changes in the order in which they were sent."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.changes: list[Change] = []
        self.crashes: list[Crash] = []
        self.journal: list[tuple[str, str, str]] = []  # upstream, method, request id
        self._failed: list[Request] = []

    def add(self, requests: Iterable[Request]) -> None:
        """Takes what clients report."""
        for request in requests:
            self.requests.append(request)
            if not request.ok:
                self._failed.append(request)

    def add_journal(self, upstream: str, lines: Iterable[str]) -> None:
        """Takes an upstream's own list of what it processed: `METHOD PATH ID TIME` a line."""
        for line in lines:
            method, _, name, *_ = line.split()
            self.journal.append((upstream, method, name))

    # Verdicts: each is the list of the requests that prove it

    def errors(self) -> list[Request]:
        """Failed requests, without those that a killed worker took with it."""
        return [request for request in self._failed if not self._in_crash(request)]

    def lost_in_crash(self) -> list[Request]:
        """Requests that were in flight inside a killed worker."""
        return [request for request in self._failed if self._in_crash(request)]

    def unanswered(self) -> list[Request]:
        """The errors that nobody ever answered."""
        return [request for request in self._failed if request.outcome is Outcome.UNANSWERED]

    def stale(self) -> list[Request]:
        """Requests answered by a version that no change in force during any of their time allowed.

        A change is in force from when it was sent at the earliest until the next one was acknowledged at
        the latest. A preview is none of a switch's business.
        """
        sent = [change.sent for change in self.changes]
        acked = self._acked()
        found = []
        for request in self.requests:
            if request.preview or not request.version:
                continue
            first = max(bisect_right(acked, request.started) - 1, 0)
            last = bisect_right(sent, request.ended)
            if not any(request.version in change.versions for change in self.changes[first:last]):
                found.append(request)
        return found

    def duplicates(self) -> list[str]:
        """The ids of POST requests that upstreams processed more than once."""
        counts = Counter(name for _, method, name in self.journal if method == "POST")
        return [name for name, count in counts.items() if count > 1]

    def unprocessed(self) -> list[Request]:
        """Answered requests that are in no journal: nobody can have done what the answer says."""
        processed = {(upstream, name) for upstream, _, name in self.journal}
        return [
            request
            for request in self.requests
            if request.ok and (request.upstream, request.id) not in processed
        ]

    # Numbers

    def between(self, begin: float, end: float) -> list[Request]:
        """The requests, previews aside, that started after `begin` and ended before `end`."""
        return [
            request
            for request in self.requests
            if begin < request.started and request.ended < end and not request.preview
        ]

    def recent(self, since: float) -> list[Request]:
        """The last reported requests, back to the first that ended before `since`."""
        return list(takewhile(lambda request: request.ended >= since, reversed(self.requests)))

    def per_version(self, requests: Iterable[Request]) -> Counter[str]:
        """How many requests each version answered, by the clients' count."""
        return Counter(request.version for request in requests if request.version)

    def processed_by(self, requests: Iterable[Request]) -> Counter[str]:
        """How many of these requests each upstream processed, by the upstreams' count."""
        names = {request.id for request in requests}
        return Counter(upstream for upstream, _, name in self.journal if name in names)

    def latencies(self) -> tuple[list[float], list[float]]:
        """Seconds of the successful requests near switches, and of those far from any; both sorted.

        Requests that are slow on purpose, and those near a hold, would hide what is looked for.
        """
        switches = self._windows(Kind.SWITCH)
        holds = self._windows(Kind.HOLD)
        near: list[float] = []
        elsewhere: list[float] = []
        for request in self.requests:
            if not request.ok or request.preview or request.path == "/slow" or _touches(holds, request):
                continue
            seconds = request.ended - request.started
            (near if _touches(switches, request) else elsewhere).append(seconds)
        return sorted(near), sorted(elsewhere)

    # Private

    def _in_crash(self, request: Request) -> bool:
        return request.outcome in {Outcome.RESET, Outcome.TRUNCATED} and any(
            crash.sent <= request.ended <= crash.gone + CRASH_NOTICE_S for crash in self.crashes
        )

    def _acked(self) -> list[float]:
        """When each change was surely in force: an acknowledgement also covers those sent before it."""
        acked: list[float] = []
        earliest = inf
        for change in reversed(self.changes):
            earliest = min(earliest, change.acked)
            acked.append(earliest)
        return acked[::-1]

    def _windows(self, kind: Kind) -> list[tuple[float, float]]:
        """Disjoint, in order."""
        merged: list[tuple[float, float]] = []
        for change in self.changes:
            if change.kind is not kind:
                continue
            begin = change.sent - NEAR_S
            end = (change.sent if change.acked == inf else change.acked) + NEAR_S
            if merged and begin <= merged[-1][1]:
                begin = merged.pop()[0]
            merged.append((begin, end))
        return merged


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed; nan without values."""
    if not sorted_values:
        return float("nan")
    return sorted_values[max(ceil(share * len(sorted_values)) - 1, 0)]


# Private


def _touches(windows: Sequence[tuple[float, float]], request: Request) -> bool:
    """Whether any of the request's time lies in one of the disjoint windows."""
    index = bisect_left(windows, request.started, key=lambda window: window[1])
    return index < len(windows) and windows[index][0] <= request.ended
