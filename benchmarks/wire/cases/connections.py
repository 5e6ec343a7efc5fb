"""How long connections live and who may use them next: keep-alive, close, pipelining, HTTP/1.0."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import (
    CHUNKED,
    GET,
    Action,
    Case,
    Close,
    HalfClose,
    Pause,
    Send,
    Until,
    Whole,
    request,
    response,
    sized,
)
from benchmarks.wire.judge import (
    Judge,
    answered,
    client_never_got,
    closed,
    forwarded,
    kept_open,
    refused_after,
    response_has,
)

_OK: Final = b"HTTP/1.1 200 OK"
_CHUNKS: Final = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
_WORLD: Final = b"hello world"
_LARGE: Final = bytes(range(256)) * (4 << 12)  # 4 MiB
_OLD: Final = request(b"GET / HTTP/1.0")
_OLD_KEPT: Final = request(b"GET / HTTP/1.0", b"Connection: keep-alive")


def _response(
    name: str,
    answer: bytes,
    *actions: Action,
    right: Judge,
    sent: bytes = GET,
    section: str = "9112 6.3",
    method: str = "GET",
) -> Case:
    return Case(
        name, section, (Send(sent),), right, upstream=((Whole(), Send(answer), *actions),), methods=(method,)
    )


CASES: Final = (
    # kept and closed
    Case(
        "a kept connection",
        "9112 9.3",
        (Send(GET), Until("client", b"answer"), Send(request(b"GET /b HTTP/1.1"))),
        forwarded(count=2, target=b"/b") & kept_open(),
        methods=("GET", "GET"),
    ),
    Case(
        "Connection: close",
        "9112 9.6",
        (Send(request(b"GET / HTTP/1.1", b"Connection: close")),),
        forwarded() & response_has(b"connection", b"close") & closed(),
    ),
    Case(
        "Connection: close in a list and in capitals",
        "9112 9.6",
        (Send(request(b"GET / HTTP/1.1", b"Connection: x-a, CLOSE")),),
        forwarded() & closed(),
    ),
    Case(
        "a request behind Connection: close",
        "9112 9.6",
        (Send(request(b"GET / HTTP/1.1", b"Connection: close") + request(b"GET /b HTTP/1.1")),),
        forwarded(count=1, target=b"/") & closed(),
    ),
    _response(
        "an upstream that closes does not close the client",
        sized(b"a", b"Connection: close"),
        Close(),
        right=answered(200, body=b"a") & kept_open(),
        section="9110 7.6.1",
    ),
    Case(
        "a client that half-closes behind its request",
        "9112 9.6",
        (Send(GET), HalfClose()),
        forwarded(),
        upstream=((Whole(), Pause(0.2), Send(sized(b"answer"))),),
    ),
    Case(
        "a kept connection after a rest",
        "9112 9.3",
        (Send(GET), Until("client", b"answer"), Pause(1.6), Send(request(b"GET /b HTTP/1.1"))),
        forwarded(count=2, target=b"/b"),
        methods=("GET", "GET"),
    ),
    Case(
        "a request in two halves",
        "9112 2.2",
        (Pause(0.5), Send(GET[:20]), Pause(0.8), Send(GET[20:])),
        forwarded(),
    ),
    # pipelined
    Case(
        "five pipelined requests",
        "9112 9.3.2",
        (Send(b"".join(request(b"GET /%d HTTP/1.1" % each) for each in range(5))),),
        forwarded(count=5, target=b"/4"),
        methods=("GET",) * 5,
    ),
    Case(
        "pipelined answers in order",
        "9112 9.3.2",
        (Send(request(b"GET /1 HTTP/1.1") + request(b"GET /2 HTTP/1.1")),),
        answered(200, body=b"second", count=2),
        upstream=((Whole(), Pause(0.3), Send(sized(b"first"))), (Whole(), Send(sized(b"second")))),
        methods=("GET", "GET"),
    ),
    Case(
        "pipelined behind a body",
        "9112 9.3.2",
        (Send(request(b"POST / HTTP/1.1", CHUNKED, body=_CHUNKS) + request(b"GET /b HTTP/1.1")),),
        forwarded(count=2, target=b"/b"),
        methods=("POST", "GET"),
    ),
    Case(
        "pipelined POST behind GET",
        "9112 9.3.2",
        (Send(GET + request(b"POST /b HTTP/1.1", b"Content-Length: 5", body=b"hello")),),
        forwarded(b"hello", count=2),
        methods=("GET", "POST"),
    ),
    Case(
        "200 pipelined requests",
        "9112 9.3.2",
        (Send(b"".join(request(b"GET /%d HTTP/1.1" % each) for each in range(200))),),
        forwarded(count=200, target=b"/199"),
        methods=("GET",) * 200,
    ),
    Case(
        "pipelined requests, then a half-close",
        "9112 9.3.2",
        (Send(GET + request(b"GET /b HTTP/1.1")), HalfClose()),
        forwarded(count=2, target=b"/b"),
        methods=("GET", "GET"),
    ),
    Case(
        "a bad request behind a good one",
        "9112 9.3.2",
        (Send(GET + request(b"GET /b HTTP/1.1", b"Content-Length: x")),),
        refused_after(1) & closed(),
        methods=("GET", "GET"),
    ),
    Case(
        "a large pipelined body",
        "9112 9.3.2",
        (Send(GET + request(b"POST /b HTTP/1.1", b"Content-Length: %d" % len(_LARGE), body=_LARGE)),),
        forwarded(_LARGE, count=2),
        upstream=((Whole(), Pause(0.3), Send(sized(b"answer"))),),
        methods=("GET", "POST"),
    ),
    Case(
        "a CRLF behind a body",
        "9112 2.2",
        (
            Send(
                request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello\r\n")
                + request(b"GET /b HTTP/1.1")
            ),
        ),
        forwarded(count=2, target=b"/b") | (refused_after(1) & closed()),
        methods=("POST", "GET"),
    ),
    Case(
        "HEAD and GET pipelined",
        "9112 9.3.2",
        (Send(request(b"HEAD / HTTP/1.1") + GET),),
        answered(200, body=b"answer", count=2),
        methods=("HEAD", "GET"),
    ),
    # HTTP/1.0 on either side
    _response(
        "a response of HTTP/1.0 until the end",
        response(b"HTTP/1.0 200 OK", body=_WORLD),
        Close(),
        right=answered(200, body=_WORLD),
    ),
    _response(
        "HTTP/1.0 and a response with a length",
        sized(b"a"),
        right=answered(200, body=b"a") & closed(),
        sent=_OLD,
        section="9112 9.3",
    ),
    _response(
        "HTTP/1.0 and a chunked response",
        response(_OK, CHUNKED, body=_CHUNKS),
        right=answered(200, body=_WORLD) & client_never_got(b"\r\n0\r\n") & closed(),
        sent=_OLD,
        section="9112 6.1",
    ),
    _response(
        "HTTP/1.0 with keep-alive",
        sized(b"a"),
        right=answered(200, body=b"a"),
        sent=_OLD_KEPT,
        section="9112 9.3",
    ),
    _response(
        "HTTP/1.0 with keep-alive and a chunked response",
        response(_OK, CHUNKED, body=_CHUNKS),
        right=answered(200, body=_WORLD) & client_never_got(b"\r\n0\r\n"),
        sent=_OLD_KEPT,
        section="9112 6.1",
    ),
    Case(
        "HTTP/1.0 with a body",
        "9112 6.3",
        (Send(request(b"POST / HTTP/1.0", b"Content-Length: 5", body=b"hello")),),
        forwarded(b"hello") & closed(),
        methods=("POST",),
    ),
    _response(
        "trailers for a client of HTTP/1.0",
        response(_OK, CHUNKED, body=b"5\r\nhello\r\n0\r\nX-Check: 1\r\n\r\n"),
        right=answered(200, body=b"hello"),
        sent=_OLD,
        section="9112 7.1.2",
    ),
    _response(
        "Connection: keep-alive of an upstream of HTTP/1.0",
        sized(b"a", b"Connection: keep-alive", line=b"HTTP/1.0 200 OK"),
        right=answered(200, body=b"a") & kept_open(),
        section="9112 9.3",
    ),
    _response(
        "HTTP/1.0 with keep-alive and a response until the end",
        response(_OK, body=_WORLD),
        Close(),
        right=answered(200, body=_WORLD) & closed(),
        sent=_OLD_KEPT,
        section="9112 9.3",
    ),
)
