"""Request lines, line ends, field names and values (RFC 9112 sections 2, 3 and 5; RFC 9110 section 5)."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import GET, Case, Send, request
from benchmarks.wire.judge import (
    Judge,
    answered,
    forwarded,
    refused,
    request_has,
    upstream_never_got,
)

_ONCE: Final = forwarded()


def _line(name: str, line: bytes, right: Judge, section: str = "9112 3") -> Case:
    return Case(name, section, (Send(request(line)),), right)


def _field(name: str, field: bytes, right: Judge, section: str = "9112 5.1") -> Case:
    return Case(name, section, (Send(request(b"GET / HTTP/1.1", field, b"X-Last: 1")),), right)


def _raw(
    name: str, data: bytes, right: Judge, section: str = "9112 2.2", methods: tuple[str, ...] = ("GET",)
) -> Case:
    return Case(name, section, (Send(data),), right, methods=methods)


_REMOVED: Final = forwarded() & request_has(b"x-last", b"1")

CASES: Final = (
    # versions
    _line("version HTTP/1.0", b"GET / HTTP/1.0", _ONCE, "9112 2.3"),
    _line("version HTTP/1.2", b"GET / HTTP/1.2", refused(505) | refused(400) | _ONCE, "9110 2.5"),
    _line("version HTTP/2.0", b"GET / HTTP/2.0", refused(), "9110 2.5"),
    _line("version HTTP/3", b"GET / HTTP/3", refused(), "9112 2.3"),
    _line("version HTTP/0.9", b"GET / HTTP/0.9", refused(), "9112 2.3"),
    _line("version HTTP/1", b"GET / HTTP/1", refused(), "9112 2.3"),
    _line("version HTTP/1.10", b"GET / HTTP/1.10", refused(), "9112 2.3"),
    _line("version HTTP/01.1", b"GET / HTTP/01.1", refused(), "9112 2.3"),
    _line("version HTTP/1.", b"GET / HTTP/1.", refused(), "9112 2.3"),
    _line("version HTTP/-1.1", b"GET / HTTP/-1.1", refused(), "9112 2.3"),
    _line("version HTTP/11.1", b"GET / HTTP/11.1", refused(), "9112 2.3"),
    _line("version in lower case", b"GET / http/1.1", refused(), "9112 2.3"),
    _line("version of something else", b"GET / ICAP/1.0", refused(), "9112 2.3"),
    _line("version with a space in it", b"GET / HTTP/ 1.1", refused(), "9112 2.3"),
    _raw("HTTP/0.9 request", b"GET /\r\n\r\n", refused(), "9112 3"),
    _raw(
        "HTTP/2 preface",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        upstream_never_got(b"PRI"),
        "9113 3.4",
    ),
    _raw(
        "TLS hello",
        bytes.fromhex("16030100650100006103037f") + bytes(100),
        upstream_never_got(b"\x16\x03"),
        "8446 4.1.2",
    ),
    _raw(
        "PROXY protocol that nobody asked for",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET,
        refused(),
        "9112 3",
    ),
    _raw(
        "PROXY protocol v2 that nobody asked for",
        bytes.fromhex("0d0a0d0a000d0a515549540a2111000cc0000201c000020200010002") + GET,
        refused(),
        "9112 3",
    ),
    _raw("SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n", refused(), "9112 3"),
    # request lines
    _line("two spaces behind the method", b"GET  / HTTP/1.1", refused() | _ONCE),
    _line("two spaces before the version", b"GET /  HTTP/1.1", refused() | forwarded(target=b"/")),
    _line("tabs instead of spaces", b"GET\t/\tHTTP/1.1", refused() | forwarded(target=b"/")),
    _line("a space before the method", b" GET / HTTP/1.1", refused()),
    _line("a space behind the version", b"GET / HTTP/1.1 ", refused() | forwarded(target=b"/")),
    _line("a fourth word", b"GET / HTTP/1.1 x", refused()),
    _line("a bare CR in the request line", b"GET /\rx HTTP/1.1", refused()),
    _line("NUL in the request line", b"GET /\x00 HTTP/1.1", refused()),
    _line("no method", b" / HTTP/1.1", refused()),
    _line("a parenthesis in the method", b"G(T / HTTP/1.1", refused()),
    _line("a colon in the method", b"GET: / HTTP/1.1", refused()),
    _line("a method beyond ASCII", b"G\xcbT / HTTP/1.1", refused()),
    _line(
        "a method in lower case",
        b"get / HTTP/1.1",
        refused(400, 405, 501) | forwarded(method=b"get"),
        "9110 9.1",
    ),
    _line(
        "an unknown method",
        b"BREW / HTTP/1.1",
        refused(400, 405, 501) | forwarded(method=b"BREW"),
        "9110 9.1",
    ),
    _line(
        "a method of 1000 letters",
        b"A" * 1000 + b" / HTTP/1.1",
        refused() | forwarded(method=b"A" * 1000),
        "9112 3.1",
    ),
    # line ends
    _raw("a CRLF before the request line", b"\r\n" + GET, _ONCE),
    _raw("three CRLFs before the request line", b"\r\n\r\n\r\n" + GET, refused() | _ONCE),
    _raw("a LF before the request line", b"\n" + GET, refused() | _ONCE),
    _raw("a CR before the request line", b"\r" + GET, refused()),
    _raw("bare LFs everywhere", b"GET / HTTP/1.1\nHost: wire.test\n\n", refused() | _ONCE),
    _raw("a bare LF behind the request line", b"GET / HTTP/1.1\nHost: wire.test\r\n\r\n", refused() | _ONCE),
    _raw(
        "a bare LF in front of a framing field",
        b"POST / HTTP/1.1\r\nHost: wire.test\r\nA: b\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        refused() | forwarded(b""),
        methods=("POST",),
    ),
    _raw("a bare LF as the end of the head", b"GET / HTTP/1.1\r\nHost: wire.test\r\n\n", refused() | _ONCE),
    _raw("CR CR LF as a line end", b"GET / HTTP/1.1\r\r\nHost: wire.test\r\r\n\r\r\n", refused()),
    _raw("only CRs", b"GET / HTTP/1.1\rHost: wire.test\r\r", refused()),
    # fields
    _field("field without a space", b"X-Case:1", _REMOVED & request_has(b"x-case", b"1")),
    _field(
        "field with whitespace around its value",
        b"X-Case: \t 1 \t ",
        _REMOVED & request_has(b"x-case", b"1"),
        "9112 5.1",
    ),
    _field("field with an empty value", b"X-Case:", _REMOVED & request_has(b"x-case", b""), "9110 5.5"),
    _field(
        "field with inner whitespace",
        b"X-Case: a \t b",
        _REMOVED & request_has(b"x-case", b"a \t b"),
        "9110 5.5",
    ),
    _field(
        "field value beyond ASCII",
        b"X-Case: \xe4\xff",
        _REMOVED & request_has(b"x-case", b"\xe4\xff"),
        "9110 5.5",
    ),
    _field(
        "field name of every token character", b"!#$%&'*+-.^_`|~09aZ: 1", refused() | _REMOVED, "9110 5.6.2"
    ),
    _field("field with a space before the colon", b"X-Case : 1", refused()),
    _field(
        "field with a space in its name",
        b"X Case: 1",
        refused() | (_REMOVED & upstream_never_got(b"X Case")),
        "9110 5.6.2",
    ),
    _field("field with an empty name", b": 1", refused() | _REMOVED, "9110 5.6.2"),
    _field(
        "field without a colon", b"X-Case", refused() | (_REMOVED & upstream_never_got(b"X-Case")), "9112 5"
    ),
    _field(
        "field with a parenthesis in its name",
        b"X(Case): 1",
        refused() | (_REMOVED & upstream_never_got(b"X(Case)")),
        "9110 5.6.2",
    ),
    _field(
        "field with NUL in its name",
        b"X\x00Case: 1",
        refused() | (_REMOVED & upstream_never_got(b"X\x00")),
        "9110 5.6.2",
    ),
    _field(
        "field name beyond ASCII",
        b"X-\xc4: 1",
        refused() | (_REMOVED & upstream_never_got(b"X-\xc4")),
        "9110 5.6.2",
    ),
    _field(
        "field with NUL in its value",
        b"X-Case: a\x00b",
        refused() | (_REMOVED & upstream_never_got(b"\x00")),
        "9110 5.5",
    ),
    _field(
        "field with a bare CR in its value",
        b"X-Case: a\rX-Other: b",
        refused() | (_REMOVED & upstream_never_got(b"a\r")),
        "9110 5.5",
    ),
    _field(
        "field with a control character in its value",
        b"X-Case: a\x01b",
        refused()
        | (_REMOVED & upstream_never_got(b"\x01"))
        | Judge(
            "passed on as a value",
            lambda seen: (
                None if seen.requests and seen.requests[-1].get(b"x-case") == [b"a\x01b"] else "lost"
            ),
        ),
        "9110 5.5",
    ),
    _field(
        "field with DEL in its value",
        b"X-Case: a\x7fb",
        refused()
        | (_REMOVED & upstream_never_got(b"\x7f"))
        | Judge(
            "passed on as a value",
            lambda seen: (
                None if seen.requests and seen.requests[-1].get(b"x-case") == [b"a\x7fb"] else "lost"
            ),
        ),
        "9110 5.5",
    ),
    _field(
        "field folded onto a second line",
        b"X-Case: a\r\n b",
        refused() | (_REMOVED & upstream_never_got(b"\r\n ")),
        "9112 5.2",
    ),
    _field(
        "field folded by a tab",
        b"X-Case: a\r\n\tb",
        refused() | (_REMOVED & upstream_never_got(b"\r\n\t")),
        "9112 5.2",
    ),
    _raw(
        "whitespace before the first field",
        b"GET / HTTP/1.1\r\n X-Case: 1\r\nHost: wire.test\r\n\r\n",
        refused() | (_ONCE & upstream_never_got(b" X-Case")),
        "9112 2.2",
    ),
    _raw(
        "a line of only whitespace in the head",
        b"GET / HTTP/1.1\r\nHost: wire.test\r\n \r\nX-Case: 1\r\n\r\n",
        refused() | (_ONCE & upstream_never_got(b"\r\n \r\n")),
        "9112 5.2",
    ),
    # Expect
    Case(
        "Expect that is unknown",
        "9110 10.1.1",
        (Send(request(b"POST / HTTP/1.1", b"Expect: a-miracle", b"Content-Length: 0")),),
        answered(417) | _ONCE,
        methods=("POST",),
    ),
    Case(
        "Expect twice",
        "9110 10.1.1",
        (
            Send(
                request(
                    b"POST / HTTP/1.1",
                    b"Expect: 100-continue",
                    b"Expect: 100-continue",
                    b"Content-Length: 5",
                    body=b"hello",
                )
            ),
        ),
        answered(417) | forwarded(b"hello"),
        methods=("POST",),
    ),
)
