"""Bounds on what a client may make a proxy keep and wait for. All proxies have the limits of `proxies`."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import CHUNKED, GET, Case, Pause, Send, Until, request
from benchmarks.wire.judge import (
    Judge,
    answered,
    closed,
    failed_upstream,
    forwarded,
    refused,
    upstream_ended,
    within,
)

_TOO_LARGE: Final = refused(400, 413, 414, 431)
_LATE: Final = refused(400, 408) & closed() & within(5)


def _sent(name: str, data: bytes, right: Judge, section: str, method: str = "GET") -> Case:
    return Case(name, section, (Send(data),), right, methods=(method,))


CASES: Final = (
    _sent("a target of 4 KiB", request(b"GET /" + b"a" * 4090 + b" HTTP/1.1"), forwarded(), "9112 3"),
    _sent(
        "a target of 64 KiB",
        request(b"GET /" + b"a" * (64 << 10) + b" HTTP/1.1"),
        refused(414, 431),
        "9112 3",
    ),
    _sent("a method of 64 KiB", b"A" * (64 << 10), refused(400, 408, 414, 431, 501), "9112 3"),
    _sent("a field of 4 KiB", request(b"GET / HTTP/1.1", b"X-Case: " + b"a" * 4000), forwarded(), "9110 5.4"),
    _sent(
        "a field of 64 KiB", request(b"GET / HTTP/1.1", b"X-Case: " + b"a" * (64 << 10)), _TOO_LARGE, "6585 5"
    ),
    _sent(
        "a field name of 64 KiB", request(b"GET / HTTP/1.1", b"X" * (64 << 10) + b": 1"), _TOO_LARGE, "6585 5"
    ),
    _sent(
        "80 fields",
        request(b"GET / HTTP/1.1", *(b"X-%d: 1" % each for each in range(80))),
        forwarded(),
        "9110 5.4",
    ),
    _sent(
        "20,000 fields",
        request(b"GET / HTTP/1.1", *(b"X-%d: 1" % each for each in range(20000))),
        _TOO_LARGE,
        "6585 5",
    ),
    _sent(
        "16 KiB in 40 fields",
        request(b"GET / HTTP/1.1", *(b"X-%d: " % each + b"a" * 400 for each in range(40))),
        forwarded(),
        "9110 5.4",
    ),
    Case(
        "a head without end",
        "6585 5",
        (Send(b"GET / HTTP/1.1\r\nX: "), Send(b"a" * 8192, times=400)),
        _TOO_LARGE | closed(),
    ),
    Case(
        "empty lines without end",
        "9112 2.2",
        (Send(b"\r\n" * 10, times=80, every_s=0.05),),
        refused(400, 408) & closed() & within(5),
    ),
    # slow clients
    Case("a head that stops", "9110 15.5.9", (Send(b"GET / HTTP/1.1\r\nHo"),), _LATE),
    Case(
        "a head a byte at a time", "9110 15.5.9", (Send(GET[:20]), Send(b"a", times=60, every_s=0.1)), _LATE
    ),
    Case(
        "a head a field at a time",
        "9110 15.5.9",
        (Send(GET[:-2]), Send(b"X-A: 1\r\n", times=20, every_s=0.3)),
        _LATE,
    ),
    Case("a connection without a request", "9112 9.5", (Pause(0.1),), closed() & within(6)),
    Case(
        "a kept connection that is idle",
        "9112 9.5",
        (Send(GET), Until("client", b"answer")),
        forwarded() & closed(),
    ),
    Case(
        "a sized body that stops",
        "9110 15.5.9",
        (Send(request(b"POST / HTTP/1.1", b"Content-Length: 100", body=b"hello")),),
        refused() & closed() & upstream_ended("closed", "reset", "never opened"),
        methods=("POST",),
    ),
    Case(
        "a chunked body that stops",
        "9110 15.5.9",
        (Send(request(b"POST / HTTP/1.1", CHUNKED, body=b"5\r\nhello\r\n")),),
        refused() & closed() & upstream_ended("closed", "reset", "never opened"),
        methods=("POST",),
    ),
    Case(
        "a second request that stops",
        "9110 15.5.9",
        (Send(GET), Until("client", b"answer"), Send(b"GET /b HTTP/1.1\r\nHo")),
        Judge(
            "answered once, then closed",
            lambda seen: (
                None
                if len(seen.requests) == 1 and seen.end != "open"
                else f"{len(seen.requests)} requests, connection {seen.end}"
            ),
        )
        & closed(),
        methods=("GET", "GET"),
    ),
    # slow upstreams
    Case(
        "an upstream that says nothing",
        "9110 15.6.5",
        (Send(GET),),
        answered(504),
        upstream=((Pause(9),),) * 3,
    ),
    Case(
        "an upstream that says nothing to POST",
        "9110 15.6.5",
        (Send(request(b"POST / HTTP/1.1", b"Content-Length: 0")),),
        answered(504) & within(4),
        upstream=((Pause(9),),) * 3,
        methods=("POST",),
    ),
    Case(
        "an upstream that stops in its head",
        "9110 15.6.5",
        (Send(GET),),
        failed_upstream(),
        upstream=((Send(b"HTTP/1.1 200 OK\r\nX: "), Pause(9)),) * 3,
    ),
)
