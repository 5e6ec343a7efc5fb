"""Upstreams that refuse, reset, close or hang, and what a client may notice of it (RFC 9110 section 9.2.2)."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import (
    CHUNKED,
    GET,
    Action,
    Case,
    Close,
    Pause,
    Reset,
    Script,
    Send,
    Until,
    Whole,
    request,
    sized,
)
from benchmarks.wire.judge import Judge, answered, failed_upstream, forwarded, tries

_POST: Final = request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello")
_LARGE: Final = request(b"POST / HTTP/1.1", b"Content-Length: %d" % (1 << 20), body=b"x" * (1 << 20))
_KEPT: Final[Script] = (Whole(), Send(sized(b"answer")))
_GOOD: Final = answered(200, body=b"answer")


def _first_fails(name: str, *script: Action, sent: bytes = GET, right: Judge, method: str = "GET") -> Case:
    """The first try meets this, every further one an upstream that is well."""
    return Case(name, "9110 9.2.2", (Send(sent),), right, upstream=(script,), methods=(method,))


def _race(name: str, end: Action, sent: bytes, right: Judge, method: str) -> Case:
    """A kept connection ends as the next request arrives on it."""
    return Case(
        name,
        "9112 9.3.1",
        (Send(GET), Until("client", b"answer"), Pause(0.05), Send(sent)),
        right,
        upstream=(_KEPT, (end,)),
        methods=("GET", method),
    )


_TWICE: Final = answered(200, body=b"answer", count=2)
_ONE_TRY: Final = tries(1)

CASES: Final = (
    # refused
    Case(
        "one upstream refuses GET",
        "9110 9.2.2",
        (Send(GET), Until("client", b"answer"), Send(GET)),
        forwarded(count=2),
        methods=("GET", "GET"),
        refusing=frozenset("a"),
    ),
    Case(
        "the other upstream refuses GET",
        "9110 9.2.2",
        (Send(GET), Until("client", b"answer"), Send(GET)),
        forwarded(count=2),
        methods=("GET", "GET"),
        refusing=frozenset("b"),
    ),
    Case(
        "one upstream refuses POST",
        "9110 9.2.2",
        (Send(_POST), Until("client", b"answer"), Send(_POST)),
        forwarded(b"hello", count=2),
        methods=("POST", "POST"),
        refusing=frozenset("a"),
    ),
    Case(
        "the other upstream refuses POST",
        "9110 9.2.2",
        (Send(_POST), Until("client", b"answer"), Send(_POST)),
        forwarded(b"hello", count=2),
        methods=("POST", "POST"),
        refusing=frozenset("b"),
    ),
    Case(
        "one upstream refuses POST of 1 MiB",
        "9110 9.2.2",
        (Send(_LARGE), Until("client", b"answer"), Send(_LARGE)),
        forwarded(b"x" * (1 << 20), count=2),
        methods=("POST", "POST"),
        refusing=frozenset("a"),
    ),
    Case("both upstreams refuse", "9110 15.6.3", (Send(GET),), answered(502, 503), refusing=frozenset("ab")),
    # before an answer
    _first_fails("reset before the answer to GET", Whole(), Reset(), right=_GOOD & tries(2)),
    _first_fails("close before the answer to GET", Whole(), Close(), right=_GOOD & tries(2)),
    _first_fails(
        "reset before the answer to HEAD",
        Whole(),
        Reset(),
        sent=request(b"HEAD / HTTP/1.1"),
        right=answered(200) & tries(2),
        method="HEAD",
    ),
    _first_fails(
        "reset before the answer to OPTIONS",
        Whole(),
        Reset(),
        sent=request(b"OPTIONS / HTTP/1.1"),
        right=_GOOD & tries(2),
        method="OPTIONS",
    ),
    _first_fails(
        "reset before the answer to POST",
        Whole(),
        Reset(),
        sent=_POST,
        right=failed_upstream() & _ONE_TRY,
        method="POST",
    ),
    _first_fails(
        "close before the answer to POST",
        Whole(),
        Close(),
        sent=_POST,
        right=failed_upstream() & _ONE_TRY,
        method="POST",
    ),
    _first_fails(
        "reset before the answer to PATCH",
        Whole(),
        Reset(),
        sent=request(b"PATCH / HTTP/1.1", b"Content-Length: 5", body=b"hello"),
        right=failed_upstream() & _ONE_TRY,
        method="PATCH",
    ),
    _first_fails(
        "reset in the middle of POST's body",
        Reset(),
        sent=_POST,
        right=failed_upstream() & _ONE_TRY,
        method="POST",
    ),
    _first_fails(
        "502 of the upstream is its answer",
        Whole(),
        Send(sized(b"mine", line=b"HTTP/1.1 502 Bad Gateway")),
        right=answered(502, body=b"mine") | _GOOD,
    ),
    _first_fails(
        "503 to POST is its answer",
        Whole(),
        Send(sized(b"mine", line=b"HTTP/1.1 503 Busy")),
        sent=_POST,
        right=answered(503, body=b"mine") & _ONE_TRY,
        method="POST",
    ),
    _first_fails(
        "half a head, then a reset",
        Whole(),
        Send(b"HTTP/1.1 200 OK\r\nX-"),
        Reset(),
        right=_GOOD | failed_upstream(),
    ),
    _first_fails(
        "an informational response, then a reset",
        Whole(),
        Send(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        Until("client", b"103"),
        Reset(),
        right=_GOOD | failed_upstream(),
    ),
    Case(
        "both upstreams reset",
        "9110 15.6.3",
        (Send(GET),),
        answered(502, 503, 504)
        & Judge(
            "few tries",
            lambda seen: (
                None if sum(len(side.reader.requests) for side in seen.upstreams) <= 4 else "tried too often"
            ),
        ),
        upstream=((Whole(), Reset()),) * 9,
    ),
    Case(
        "a retry goes to the other upstream",
        "9110 9.2.2",
        (Send(GET),),
        _GOOD
        & Judge(
            "two upstreams",
            lambda seen: (
                None if len({side.name for side in seen.upstreams}) == 2 else "tried the same upstream again"
            ),
        ),
        upstream=((Whole(), Reset()),),
    ),
    # races on kept connections
    _race("kept connection closed as GET arrives", Close(), GET, _TWICE, "GET"),
    _race("kept connection reset as GET arrives", Reset(), GET, _TWICE, "GET"),
    _race(
        "kept connection closed as HEAD arrives",
        Close(),
        request(b"HEAD / HTTP/1.1"),
        answered(200, count=2),
        "HEAD",
    ),
    _race(
        "kept connection reset as PUT arrives",
        Reset(),
        request(b"PUT / HTTP/1.1", b"Content-Length: 5", body=b"hello"),
        _TWICE,
        "PUT",
    ),
    _race(
        "kept connection reset as a chunked PUT arrives",
        Reset(),
        request(b"PUT / HTTP/1.1", CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
        _TWICE,
        "PUT",
    ),
    _race(
        "kept connection reset as DELETE arrives", Reset(), request(b"DELETE / HTTP/1.1"), _TWICE, "DELETE"
    ),
    Case(
        "kept connection closed as POST arrives: at most once",
        "9112 9.3.1",
        (Send(GET), Until("client", b"answer"), Pause(0.05), Send(_POST)),
        Judge(
            "POST once",
            lambda seen: (
                None
                if sum(each.method == b"POST" for side in seen.upstreams for each in side.reader.requests)
                == 1
                else "POST was sent again"
            ),
        ),
        upstream=(_KEPT, (Whole(), Close())),
        methods=("GET", "POST"),
    ),
    Case(
        "kept connection that was closed before POST",
        "9112 9.3.1",
        (Send(GET), Until("client", b"answer"), Pause(0.3), Send(_POST)),
        _TWICE,
        upstream=((*_KEPT, Pause(0.05), Close()),),
        methods=("GET", "POST"),
    ),
    Case(
        "kept connection that was reset before POST",
        "9112 9.3.1",
        (Send(GET), Until("client", b"answer"), Pause(0.3), Send(_POST)),
        _TWICE,
        upstream=((*_KEPT, Pause(0.05), Reset()),),
        methods=("GET", "POST"),
    ),
    Case(
        "Connection: close of an upstream that closes later",
        "9112 9.6",
        (Send(GET), Until("client", b"answer"), Send(_POST)),
        _TWICE,
        upstream=((Whole(), Send(sized(b"answer", b"Connection: close")), Pause(0.5), Close()),),
        methods=("GET", "POST"),
    ),
    Case(
        "HTTP/1.0 of an upstream that closes later",
        "9112 9.3",
        (Send(GET), Until("client", b"answer"), Send(_POST)),
        _TWICE,
        upstream=((Whole(), Send(sized(b"answer", line=b"HTTP/1.0 200 OK")), Pause(0.5), Close()),),
        methods=("GET", "POST"),
    ),
    # the next request
    Case(
        "the next request is answered after a reset",
        "9110 15.6.3",
        (Send(_POST), Until("client", b"\r\n\r\n"), Send(GET)),
        Judge(
            "an error, then an answer",
            lambda seen: (
                None
                if [each.status for each in seen.responses][-1:] == [200] or seen.end != "open"
                else "the connection was spoilt"
            ),
        ),
        upstream=((Whole(), Reset()),),
        methods=("POST", "GET"),
    ),
    Case(
        "a slow upstream in time",
        "9110 15.6.5",
        (Send(GET),),
        _GOOD,
        upstream=((Whole(), Pause(1.2), Send(sized(b"answer"))),),
    ),
)
