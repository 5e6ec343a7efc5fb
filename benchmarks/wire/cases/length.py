"""How long a request's body is: Content-Length and Transfer-Encoding, alone, together, twice and disguised.

Behind every request stands a second one that a proxy sees only if it reads the first one otherwise than meant.
"""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import CHUNKED, Case, HalfClose, Send, request
from benchmarks.wire.judge import Judge, closed, forwarded, refused, request_has

_HELLO: Final = b"hello"
_CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"
_SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: wire.test\r\n\r\n"
_EITHER: Final = refused() | forwarded(_HELLO)


def _post(name: str, *fields: bytes, right: Judge, body: bytes = _HELLO, section: str = "9112 6.3") -> Case:
    return Case(
        name, section, (Send(request(b"POST / HTTP/1.1", *fields, body=body)),), right, methods=("POST",)
    )


def _length(name: str, value: bytes, right: Judge) -> Case:
    return _post(f"Content-Length {name}", b"Content-Length:" + value, right=right, section="9110 8.6")


def _coding(name: str, value: bytes, right: Judge = refused()) -> Case:  # noqa: B008  (immutable)
    return _post(
        f"Transfer-Encoding {name}",
        b"Transfer-Encoding:" + value,
        right=right,
        body=_CHUNKS,
        section="9112 6.1",
    )


CASES: Final = (
    # Content-Length
    _length("of the body", b" 5", forwarded(_HELLO)),
    _length("without a space", b"5", forwarded(_HELLO)),
    _length("with whitespace around it", b" \t 5 \t", forwarded(_HELLO)),
    _length("with leading zeros", b" 0005", _EITHER),
    _length("with a plus sign", b" +5", refused()),
    _length("with a minus sign", b" -5", refused()),
    _length("in hexadecimal", b" 0x5", refused()),
    _length("with an exponent", b" 5e0", refused()),
    _length("with a fraction", b" 5.0", refused()),
    _length("with an underscore", b" 0_5", refused()),
    _length("of two numbers", b" 5 5", refused()),
    _length("with a parameter", b" 5;a", refused()),
    _length("in quotes", b' "5"', refused()),
    _length("that is empty", b"", refused()),
    _length("behind a vertical tab", b" \x0b5", refused()),
    _length("before a form feed", b" 5\x0c", refused()),
    _length("in Arabic digits", " \u0665".encode(), refused()),
    _length("of 2**64 + 5", b" 18446744073709551621", refused()),
    _length("of 2**63 + 5", b" 9223372036854775813", refused()),
    _length("of 200 digits", b" " + b"9" * 200, refused()),
    _length("twice the same in a list", b" 5, 5", _EITHER),
    _length("twice different in a list", b" 5, 6", refused()),
    _length("and an empty list element", b" 5,", refused()),
    _post("Content-Length twice the same", b"Content-Length: 5", b"Content-Length: 5", right=_EITHER),
    _post("Content-Length twice different", b"Content-Length: 5", b"Content-Length: 0", right=refused()),
    _post(
        "Content-Length twice, one in another case",
        b"Content-Length: 0",
        b"content-length: 5",
        right=refused(),
    ),
    _post(
        "Content-Length twice, one malformed", b"Content-Length: 5", b"Content-Length: +5", right=refused()
    ),
    _post("no Content-Length and no body", right=forwarded(b""), body=b""),
    _post("Content-Length 0", b"Content-Length: 0", right=forwarded(b""), body=b""),
    # Transfer-Encoding
    _coding("chunked", b" chunked", forwarded(_HELLO)),
    _coding("in another case", b" Chunked", forwarded(_HELLO)),
    _coding("without a space", b"chunked", forwarded(_HELLO)),
    _coding("followed by whitespace", b" chunked \t", forwarded(_HELLO)),
    _coding("behind an empty list element", b" ,chunked", _EITHER),
    _coding("chunked twice in a list", b" chunked, chunked"),
    _coding("identity", b" identity"),
    _coding("unknown", b" xchunked"),
    _coding("with a parameter", b" chunked;q=1"),
    _coding("in quotes", b' "chunked"'),
    _coding("that is not last", b" chunked, identity"),
    _coding("behind a vertical tab", b" \x0bchunked"),
    _coding("before a form feed", b" chunked\x0c"),
    _coding("before NUL", b" chunked\x00"),
    _coding("before a bare CR", b" chunked\r", refused() | forwarded(_HELLO)),
    _coding("with a control character in it", b" chu\x01nked"),
    _coding("folded onto a second line", b"\r\n chunked", _EITHER),
    _coding("that was split by a space", b" chunk ed"),
    _coding("in fullwidth letters", " \uff43hunked".encode()),
    _post("Transfer-Encoding twice chunked", CHUNKED, CHUNKED, right=refused(), body=_CHUNKS),
    _post(
        "Transfer-Encoding chunked and identity",
        CHUNKED,
        b"Transfer-Encoding: identity",
        right=refused(),
        body=_CHUNKS,
    ),
    _post(
        "Transfer-Encoding identity and chunked",
        b"Transfer-Encoding: identity",
        CHUNKED,
        right=refused(),
        body=_CHUNKS,
    ),
    _post(
        "Transfer-Encoding with a space before the colon",
        b"Transfer-Encoding : chunked",
        right=refused(),
        body=_CHUNKS,
    ),
    _post(
        "Transfer-Encoding with a tab before the colon",
        b"Transfer-Encoding\t: chunked",
        right=refused(),
        body=_CHUNKS,
    ),
    _post(
        "Transfer-Encoding with NUL before the colon",
        b"Transfer-Encoding\x00: chunked",
        right=refused(),
        body=_CHUNKS,
    ),
    _post(
        "Transfer-Encoding behind whitespace",
        b"A: b",
        b" Transfer-Encoding: chunked",
        right=refused() | forwarded(b""),
        body=b"",
    ),
    # both
    _post(
        "CL.TE: both, with something behind the last chunk",
        b"Content-Length: 6",
        CHUNKED,
        right=refused() | (forwarded(b"") & request_has(b"content-length") & closed()),
        body=b"0\r\n\r\nG",
    ),
    _post(
        "TE.CL: both, with a request in a chunk",
        CHUNKED,
        b"Content-Length: 4",
        right=refused() | (forwarded(_SMUGGLED) & closed()),
        body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(_SMUGGLED), _SMUGGLED),
    ),
    _post(
        "TE.TE: both and the coding disguised",
        b"Content-Length: 4",
        CHUNKED,
        b"Transfer-encoding: cow",
        right=refused(),
        body=b"5c\r\n",
    ),
    _post(
        "both, the coding with a space before the colon",
        b"Content-Length: 15",
        b"Transfer-Encoding : chunked",
        right=refused(),
        body=_CHUNKS,
    ),
    _post("both, the coding unknown", b"Content-Length: 5", b"Transfer-Encoding: x", right=refused()),
    _post("both, the coding empty", b"Content-Length: 5", b"Transfer-Encoding:", right=_EITHER),
    _post(
        "both, the length malformed",
        b"Content-Length: x",
        CHUNKED,
        right=refused() | forwarded(_HELLO),
        body=_CHUNKS,
    ),
    # around them
    Case(
        "Transfer-Encoding in HTTP/1.0",
        "9112 6.1",
        (Send(request(b"POST / HTTP/1.0", CHUNKED, b"Connection: keep-alive", body=_CHUNKS)),),
        refused() | (forwarded(_HELLO) & closed()),
        methods=("POST",),
    ),
    Case(
        "Transfer-Encoding and Content-Length in HTTP/1.0",
        "9112 6.1",
        (Send(request(b"POST / HTTP/1.0", CHUNKED, b"Content-Length: 15", body=_CHUNKS)),),
        refused() | (forwarded(_HELLO) & closed()),
        methods=("POST",),
    ),
    Case(
        "GET with Content-Length and a request as its body",
        "9110 9.3.1",
        (Send(request(b"GET / HTTP/1.1", b"Content-Length: %d" % len(_SMUGGLED), body=_SMUGGLED)),),
        refused() | forwarded(_SMUGGLED),
    ),
    Case(
        "GET with a chunked body",
        "9110 9.3.1",
        (Send(request(b"GET / HTTP/1.1", CHUNKED, body=_CHUNKS)),),
        _EITHER,
    ),
    Case(
        "DELETE with a body",
        "9110 9.3.5",
        (Send(request(b"DELETE / HTTP/1.1", b"Content-Length: 5", body=_HELLO)),),
        forwarded(_HELLO),
        methods=("DELETE",),
    ),
    Case(
        "Content-Length nominated by Connection",
        "9110 7.6.1",
        (
            Send(
                request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Connection: content-length", body=_HELLO)
            ),
        ),
        _EITHER,
        methods=("POST",),
    ),
    Case(
        "Transfer-Encoding nominated by Connection",
        "9110 7.6.1",
        (Send(request(b"POST / HTTP/1.1", CHUNKED, b"Connection: transfer-encoding", body=_CHUNKS)),),
        _EITHER,
        methods=("POST",),
    ),
    Case(
        "a length that is longer than the body, then the end",
        "9112 8",
        (Send(request(b"POST / HTTP/1.1", b"Content-Length: 10", body=_HELLO)), HalfClose()),
        refused(),
        methods=("POST",),
    ),
)
