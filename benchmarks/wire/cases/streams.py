"""What goes through at once and in both directions: Expect, streams, early answers, slow and lost peers."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import (
    CHUNKED,
    GET,
    Action,
    Case,
    Close,
    Deaf,
    Pause,
    Reset,
    Send,
    Until,
    Whole,
    request,
    response,
    sized,
)
from benchmarks.wire.judge import (
    Judge,
    aborted,
    answered,
    client_never_got,
    closed,
    forwarded,
    informed,
    upstream_ended,
)

_OK: Final = b"HTTP/1.1 200 OK"
_CHUNKS: Final = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
_WORLD: Final = b"hello world"
_LARGE: Final = bytes(range(256)) * (4 << 12)  # 4 MiB
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_EXPECTING: Final = request(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5")


def _conversation(
    name: str,
    client: tuple[Action, ...],
    upstream: tuple[Action, ...],
    right: Judge,
    section: str,
    method: str = "POST",
) -> Case:
    return Case(name, section, client, right, upstream=(upstream,), methods=(method,))


CASES: Final = (
    # Expect
    _conversation(
        "100 end to end",
        (Send(_EXPECTING), Until("client", _CONTINUE[:12]), Send(b"hello")),
        (Send(_CONTINUE), Whole(), Send(sized(b"a"))),
        forwarded(b"hello") & (informed(100) | informed(100, 100)),
        "9110 10.1.1",
    ),
    _conversation(
        "100 only when the upstream says so",
        (
            Send(_EXPECTING),
            Until("upstream", b"\r\n\r\n"),
            Pause(0.2),
            Until("client", b"HTTP/1.1 "),
            Send(b"hello"),
        ),
        (Pause(0.4), Send(sized(b"", b"Connection: close", line=b"HTTP/1.1 417 Expectation Failed"))),
        answered(417) & client_never_got(b"100 Continue"),
        "9110 10.1.1",
    ),
    _conversation(
        "a final status instead of 100, and no body",
        (Send(_EXPECTING), Until("client", b"HTTP/1.1 "), Pause(0.1)),
        (Send(sized(b"no", line=b"HTTP/1.1 401 Unauthorized")), Pause(0.3)),
        answered(401, body=b"no"),
        "9110 10.1.1",
    ),
    _conversation(
        "Expect with the body sent at once",
        (Send(_EXPECTING + b"hello"),),
        (Whole(), Send(sized(b"a"))),
        forwarded(b"hello"),
        "9110 10.1.1",
    ),
    _conversation(
        "Expect from a client of HTTP/1.0",
        (Send(request(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 5", body=b"hello")),),
        (Whole(), Send(sized(b"a"))),
        forwarded(b"hello") & client_never_got(b"100 Continue"),
        "9110 10.1.1",
    ),
    _conversation(
        "Expect and a body that does not wait",
        (Send(_EXPECTING), Pause(0.1), Send(b"hello")),
        (Pause(0.3), Send(_CONTINUE), Whole(), Send(sized(b"a"))),
        forwarded(b"hello"),
        "9110 10.1.1",
    ),
    Case(
        "Expect when one upstream refuses",
        "9110 10.1.1",
        (
            Send(_EXPECTING),
            Until("client", b"HTTP/1.1 100"),
            Send(b"hello"),
            Until("client", b"200 OK"),
            Send(_EXPECTING),
            Pause(0.2),
            Send(b"hello"),
        ),
        forwarded(b"hello", count=2),
        upstream=((Send(_CONTINUE), Whole(), Send(sized(b"a"))),) * 2,
        methods=("POST", "POST"),
        refusing=frozenset("a"),
    ),
    Case(
        "Expect without a body",
        "9110 10.1.1",
        (Send(request(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 0")),),
        forwarded(b""),
        methods=("POST",),
    ),
    Case(
        "Expect with GET",
        "9110 10.1.1",
        (Send(request(b"GET / HTTP/1.1", b"Expect: 100-continue")),),
        forwarded(b""),
    ),
    # streams
    _conversation(
        "103 at once",
        (Send(GET),),
        (
            Whole(),
            Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
            Until("client", b"103"),
            Send(sized(b"a")),
        ),
        answered(200, body=b"a") & informed(103),
        "9110 15.2",
        "GET",
    ),
    _conversation(
        "a response byte by byte",
        (Send(GET),),
        (Whole(), *(Send(bytes([each])) for each in response(_OK, CHUNKED, body=_CHUNKS))),
        answered(200, body=_WORLD),
        "9112 2.2",
        "GET",
    ),
    _conversation(
        "events pass at once",
        (Send(GET), Until("client", b"one")),
        (
            Whole(),
            Send(response(_OK, b"Content-Type: text/event-stream", CHUNKED, body=b"5\r\none\n\n\r\n")),
            Until("client", b"one"),
            Send(b"5\r\ntwo\n\n\r\n"),
            Until("client", b"two"),
            Send(b"0\r\n\r\n"),
        ),
        answered(200, body=b"one\n\ntwo\n\n"),
        "9112 7.1",
        "GET",
    ),
    _conversation(
        "a sized response passes at once",
        (Send(GET),),
        (
            Whole(),
            Send(response(_OK, b"Content-Length: 6", body=b"one")),
            Until("client", b"one"),
            Send(b"two"),
        ),
        answered(200, body=b"onetwo"),
        "9112 6.3",
        "GET",
    ),
    _conversation(
        "a response's head passes at once",
        (Send(GET),),
        (Whole(), Send(response(_OK, b"Content-Length: 3")), Until("client", b"200 OK"), Send(b"one")),
        answered(200, body=b"one"),
        "9112 6.3",
        "GET",
    ),
    _conversation(
        "a chunked upload passes at once",
        (
            Send(request(b"POST / HTTP/1.1", CHUNKED, body=b"3\r\none\r\n")),
            Until("upstream", b"one"),
            Send(b"3\r\ntwo\r\n"),
            Until("upstream", b"two"),
            Send(b"0\r\n\r\n"),
        ),
        (Whole(), Send(sized(b"a"))),
        forwarded(b"onetwo"),
        "9112 7.1",
    ),
    _conversation(
        "a sized upload passes at once",
        (
            Send(request(b"POST / HTTP/1.1", b"Content-Length: 6", body=b"one")),
            Until("upstream", b"one"),
            Send(b"two"),
        ),
        (Whole(), Send(sized(b"a"))),
        forwarded(b"onetwo"),
        "9112 6.3",
    ),
    _conversation(
        "both directions at once",
        (
            Send(request(b"POST / HTTP/1.1", CHUNKED, body=b"3\r\none\r\n")),
            Until("client", b"first"),
            Send(b"3\r\ntwo\r\n0\r\n\r\n"),
        ),
        (
            Until("upstream", b"one"),
            Send(response(_OK, CHUNKED, body=b"5\r\nfirst\r\n")),
            Whole(),
            Send(b"6\r\nsecond\r\n0\r\n\r\n"),
        ),
        forwarded(b"onetwo") & answered(200, body=b"firstsecond"),
        "9112 9.3",
    ),
    _conversation(
        "an early answer to an upload, then a close",
        (
            Send(request(b"POST / HTTP/1.1", b"Content-Length: 1000000", body=b"x" * 1000)),
            Until("client", b"too much"),
        ),
        (
            Send(sized(b"too much", b"Connection: close", line=b"HTTP/1.1 413 Content Too Large")),
            Pause(0.2),
            Close(),
        ),
        answered(413, body=b"too much"),
        "9112 9.3",
    ),
    _conversation(
        "an early answer, and the upload goes on to its end",
        (
            Send(request(b"POST / HTTP/1.1", b"Content-Length: 6", body=b"one")),
            Until("client", b"early"),
            Send(b"two"),
        ),
        (Until("upstream", b"one"), Send(sized(b"early")), Whole()),
        answered(200, body=b"early"),
        "9112 9.3",
    ),
    Case(
        "an early answer, the rest of the upload, and the next request",
        "9112 9.3",
        (
            Send(request(b"POST / HTTP/1.1", b"Content-Length: 6", body=b"one")),
            Until("client", b"early"),
            Send(b"two" + request(b"GET /b HTTP/1.1")),
        ),
        answered(200, body=b"answer", count=2) | (answered(200, body=b"early") & closed()),
        upstream=((Until("upstream", b"one"), Send(sized(b"early")), Whole()),),
        methods=("POST", "GET"),
    ),
    _conversation(
        "413 and a reset in the middle of an upload",
        (
            Send(request(b"POST / HTTP/1.1", b"Content-Length: 8000000", body=b"x" * 1000)),
            Send(b"x" * 65536, times=20, every_s=0.02),
        ),
        (
            Send(sized(b"too much", b"Connection: close", line=b"HTTP/1.1 413 Content Too Large")),
            Until("client", b"too much"),
            Reset(),
        ),
        answered(413, body=b"too much"),
        "9112 9.3",
    ),
    _conversation(
        "an upload that takes longer than any limit, with progress",
        (Send(request(b"POST / HTTP/1.1", b"Content-Length: 10")), Send(b"x", times=10, every_s=0.4)),
        (Whole(), Send(sized(b"a"))),
        forwarded(b"x" * 10),
        "9110 15.5.9",
    ),
    _conversation(
        "a response that takes longer than any limit, with progress",
        (Send(GET), Until("client", b"x" * 10)),
        (Whole(), Send(response(_OK, b"Content-Length: 10")), Send(b"x", times=10, every_s=0.4)),
        answered(200, body=b"x" * 10),
        "9110 15.6.5",
        "GET",
    ),
    _conversation(
        "a client that does not read for a while",
        (Send(GET), Until("client", b"200 OK"), Deaf(1.2)),
        (Whole(), Send(sized(_LARGE * 4))),
        answered(200, body=_LARGE * 4),
        "9112 9.3",
        "GET",
    ),
    _conversation(
        "an upstream that does not read for a while",
        (Send(request(b"POST / HTTP/1.1", b"Content-Length: %d" % len(_LARGE * 4), body=_LARGE * 4)),),
        (Deaf(1.2), Whole(), Send(sized(b"a"))),
        forwarded(_LARGE * 4),
        "9112 9.3",
    ),
    _conversation(
        "a client that leaves in the middle of a response",
        (Send(GET), Until("client", b"one"), Close()),
        (
            Whole(),
            Send(response(_OK, b"Content-Length: 1000000", body=b"one")),
            Until("client", b"one"),
            Pause(0.3),
            Send(b"x" * 1000, times=20, every_s=0.05),
        ),
        aborted() & upstream_ended("closed", "reset"),
        "9112 9.5",
        "GET",
    ),
    _conversation(
        "a client that leaves in the middle of its upload",
        (
            Send(request(b"POST / HTTP/1.1", b"Content-Length: 100", body=b"one")),
            Until("upstream", b"one"),
            Close(),
        ),
        (Whole(),),
        upstream_ended("closed", "reset"),
        "9112 8",
    ),
)
