"""What a case is: bytes and actions of a client and of an upstream, and which outcomes are right. Data only.

Both scripts run at the same time. The client's begins with a connection to the proxy; the upstream's begins when
the head of a request has arrived, the first of `Case.upstream` with the first request and so on. Requests beyond
them get `ANSWER`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from benchmarks.wire.judge import Judge

HOST: Final = b"wire.test"

Side = Literal["client", "upstream"]


@dataclass(frozen=True, slots=True)
class Send:
    """`times` repeats it, `every_s` apart; it ends early when the peer has closed."""

    data: bytes
    times: int = 1
    every_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Until:
    """Goes on when `side` has received `data`. If that does not happen, the case has failed."""

    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Whole:
    """Upstream only: goes on when the request has arrived whole."""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Deaf:
    """Reads nothing for that long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Sends the end of file and goes on reading."""


@dataclass(frozen=True, slots=True)
class Close:
    pass


@dataclass(frozen=True, slots=True)
class Reset:
    pass


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Client only: closes and goes on with a new connection, as another client would."""


Action = Send | Until | Whole | Pause | Deaf | HalfClose | Close | Reset | Reconnect
Script = tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """`methods` names the requests that the client sends, in order: how a response is read depends on them.

    `section` is where the RFCs say so; `refusing` are the upstreams that do not listen.
    """

    name: str
    section: str
    client: Script
    right: Judge
    upstream: tuple[Script, ...] = ()
    methods: tuple[str, ...] = ("GET",)
    refusing: frozenset[str] = field(default_factory=frozenset)


def request(line: bytes, *fields: bytes, host: bool = True, body: bytes = b"") -> bytes:
    """A request with CRLF line ends and, unless told otherwise, a Host field."""
    lines = [line, *([b"Host: " + HOST] if host else []), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def response(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *fields]) + b"\r\n\r\n" + body


def sized(body: bytes, *fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response whose framing is beyond doubt."""
    return response(line, b"Content-Length: %d" % len(body), *fields, body=body)


GET: Final = request(b"GET / HTTP/1.1")
CHUNKED: Final = b"Transfer-Encoding: chunked"
ANSWER: Final[Script] = (Whole(), Send(sized(b"answer")))
