"""What goes through unchanged: responses with and without a body, informational ones, trailers."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import (
    CHUNKED,
    GET,
    Action,
    Case,
    Close,
    Send,
    Whole,
    request,
    response,
    sized,
)
from benchmarks.wire.judge import (
    Judge,
    answered,
    client_got,
    forwarded,
    informed,
    kept_open,
    request_trailer,
    request_where,
    response_has,
    response_trailer,
)

_OK: Final = b"HTTP/1.1 200 OK"
_CHUNKS: Final = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
_WORLD: Final = b"hello world"
_LARGE: Final = bytes(range(256)) * (4 << 12)  # 4 MiB
_OLD: Final = request(b"GET / HTTP/1.0")


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
    # without a body
    _response(
        "HEAD with Content-Length",
        response(_OK, b"Content-Length: 1000"),
        right=answered(200, body=b"") & response_has(b"content-length", b"1000") & kept_open(),
        sent=request(b"HEAD / HTTP/1.1"),
        method="HEAD",
        section="9110 9.3.2",
    ),
    _response(
        "HEAD with Transfer-Encoding",
        response(_OK, CHUNKED),
        right=answered(200, body=b"") & kept_open(),
        sent=request(b"HEAD / HTTP/1.1"),
        method="HEAD",
        section="9112 6.1",
    ),
    _response(
        "HEAD without either",
        response(_OK),
        right=answered(200, body=b"") & kept_open(),
        sent=request(b"HEAD / HTTP/1.1"),
        method="HEAD",
        section="9110 9.3.2",
    ),
    _response(
        "204",
        response(b"HTTP/1.1 204 No Content"),
        right=answered(204, body=b"") & kept_open(),
        section="9110 15.3.5",
    ),
    _response(
        "204 with Content-Length 0",
        response(b"HTTP/1.1 204 No Content", b"Content-Length: 0"),
        right=answered(204, body=b"") & kept_open(),
        section="9110 8.6",
    ),
    _response(
        "304 with Content-Length",
        response(b"HTTP/1.1 304 Not Modified", b"Content-Length: 1000", b'ETag: "a"'),
        right=answered(304, body=b"") & response_has(b"etag", b'"a"') & kept_open(),
        section="9110 15.4.5",
    ),
    _response(
        "304 with Transfer-Encoding",
        response(b"HTTP/1.1 304 Not Modified", CHUNKED),
        right=answered(304, body=b"") & kept_open(),
        section="9112 6.1",
    ),
    _response(
        "205",
        response(b"HTTP/1.1 205 Reset Content", b"Content-Length: 0"),
        right=answered(205, body=b"") & kept_open(),
        section="9110 15.3.6",
    ),
    _response("200 of no bytes", sized(b""), right=answered(200, body=b"") & kept_open()),
    _response(
        "HEAD until the end",
        response(_OK, b"Connection: close"),
        Close(),
        right=answered(200, body=b""),
        sent=request(b"HEAD / HTTP/1.1"),
        method="HEAD",
        section="9110 9.3.2",
    ),
    # informational
    _response(
        "103 with its fields",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(b"a"),
        right=answered(200, body=b"a") & informed(103) & client_got(b"</a>"),
        section="9110 15.2",
    ),
    _response(
        "102 and 103",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + sized(b"a"),
        right=answered(200, body=b"a") & informed(102, 103),
        section="9110 15.2",
    ),
    # bodies and fields
    _response(
        "a status that nobody knows",
        sized(b"a", line=b"HTTP/1.1 299 Fine"),
        right=answered(299, body=b"a"),
        section="9110 15",
    ),
    _response(
        "a status of 599",
        sized(b"a", line=b"HTTP/1.1 599 Far"),
        right=answered(599, body=b"a"),
        section="9110 15",
    ),
    _response(
        "an error of the upstream with its body",
        sized(b"broken", line=b"HTTP/1.1 503 Gone"),
        right=answered(503, body=b"broken"),
        section="9110 15.6",
    ),
    _response(
        "a redirect",
        sized(b"", b"Location: http://elsewhere.test/", line=b"HTTP/1.1 302 Found"),
        right=answered(302) & response_has(b"location", b"http://elsewhere.test/"),
        section="9110 15.4",
    ),
    _response(
        "a chunked response",
        response(_OK, CHUNKED, body=_CHUNKS),
        right=answered(200, body=_WORLD) & kept_open(),
    ),
    _response(
        "a response until the end", response(_OK, body=_WORLD), Close(), right=answered(200, body=_WORLD)
    ),
    _response("a response of 4 MiB", sized(_LARGE), right=answered(200, body=_LARGE)),
    _response(
        "a chunked response of 4 MiB",
        response(_OK, CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(_LARGE), _LARGE)),
        right=answered(200, body=_LARGE),
    ),
    _response(
        "a response with two Set-Cookie",
        sized(b"a", b"Set-Cookie: a=1", b"Set-Cookie: b=2"),
        right=answered(200) & response_has(b"set-cookie", b"a=1", b"b=2"),
        section="9110 5.3",
    ),
    _response(
        "trailers of a response",
        response(_OK, CHUNKED, b"Trailer: X-Check", body=b"5\r\nhello\r\n0\r\nX-Check: 1\r\n\r\n"),
        right=answered(200, body=b"hello") & response_trailer(b"x-check", b"1"),
        sent=request(b"GET / HTTP/1.1", b"TE: trailers", b"Connection: te"),
        section="9110 6.5",
    ),
    Case(
        "trailers of a request",
        "9110 6.5",
        (
            Send(
                request(
                    b"POST / HTTP/1.1",
                    CHUNKED,
                    b"Trailer: X-Check",
                    body=b"5\r\nhello\r\n0\r\nX-Check: 1\r\n\r\n",
                )
            ),
        ),
        forwarded(b"hello") & request_trailer(b"x-check", b"1"),
        methods=("POST",),
    ),
    Case(
        "a request of 4 MiB",
        "9112 6.3",
        (Send(request(b"POST / HTTP/1.1", b"Content-Length: %d" % len(_LARGE), body=_LARGE)),),
        forwarded(_LARGE),
        methods=("POST",),
    ),
    Case(
        "a chunked request of 4 MiB",
        "9112 7.1",
        (Send(request(b"POST / HTTP/1.1", CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(_LARGE), _LARGE))),),
        forwarded(_LARGE),
        methods=("POST",),
    ),
    Case(
        "a request byte by byte",
        "9112 2.2",
        tuple(Send(bytes([each])) for each in request(b"POST / HTTP/1.1", CHUNKED, body=_CHUNKS)),
        forwarded(_WORLD),
        methods=("POST",),
    ),
    _response(
        "5000 chunks of a byte",
        response(_OK, CHUNKED, body=b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"),
        right=answered(200, body=b"x" * 5000),
        section="9112 7.1",
    ),
    _response(
        "the case of field names",
        sized(b"a", b"X-CaSe: 1"),
        right=answered(200) & response_has(b"x-case", b"1"),
        sent=request(b"GET / HTTP/1.1", b"X-CaSe: 1"),
        section="9110 5.1",
    ),
    Case(
        "the order of equal fields",
        "9110 5.3",
        (Send(request(b"GET / HTTP/1.1", b"X-A: 1", b"X-B: 1", b"X-A: 2")),),
        forwarded()
        & request_where(
            "X-A in order", lambda each: b",".join(each.get(b"x-a")).replace(b" ", b"") == b"1,2"
        ),
    ),
    _response(
        "a response field of 6 KiB",
        sized(b"a", b"Set-Cookie: a=" + b"b" * 6000),
        right=answered(200, body=b"a"),
        section="9110 5.4",
    ),
)
