"""Responses that are ambiguous, garbled, split or cut (RFC 9112 sections 4, 6, 7 and 8; RFC 9110 section 15).

Behind many of them stands a second request: it must get an answer of its own, whatever the first one left behind.
"""

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
    Reconnect,
    Reset,
    Script,
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
    failed_upstream,
    informed,
    response_has,
    response_trailer,
)

_OK: Final = b"HTTP/1.1 200 OK"
_CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"
_HELLO: Final = answered(200, body=b"hello")
_EVIL: Final = sized(b"evil")
_FAILED: Final = failed_upstream()


def _case(
    name: str,
    *actions: Action,
    right: Judge,
    section: str = "9112 6.3",
    sent: bytes = GET,
    method: str = "GET",
) -> Case:
    """However often it is tried, the upstream does the same."""
    script: Script = (Whole(), *actions)
    return Case(name, section, (Send(sent),), right, upstream=(script,) * 4, methods=(method,))


def _head(name: str, head: bytes, right: Judge, section: str) -> Case:
    return _case(name, Send(head), HalfClose(), right=right, section=section)


def _length(name: str, *fields: bytes, right: Judge) -> Case:
    return _head(
        f"response with Content-Length {name}", response(_OK, *fields, body=b"hello"), right, "9112 6.3"
    )


def _status(name: str, line: bytes, right: Judge, section: str = "9112 4") -> Case:
    return _head(f"status line {name}", response(line, b"Content-Length: 5", body=b"hello"), right, section)


def _field(name: str, field: bytes, right: Judge, section: str = "9112 5.1") -> Case:
    return _head(f"response field {name}", sized(b"hello", field), right, section)


def _chunked(name: str, body: bytes, right: Judge, section: str = "9112 7.1") -> Case:
    return _head(f"response chunked {name}", response(_OK, CHUNKED, body=body), right, section)


def _extra(name: str, first: bytes, *later: Action, line: bytes = b"GET", right: Judge | None = None) -> Case:
    """What stands behind a response must not become the answer to the next request, whoever sends it."""
    method = line.decode()
    right = right or answered(200, body=b"answer", count=2)
    return Case(
        f"{name}, then another client",
        "9112 11.1",
        (
            Send(request(line + b" /first HTTP/1.1")),
            Until("client", b"\r\n\r\n"),
            Pause(0.15),
            Reconnect(),
            Send(request(b"GET /second HTTP/1.1")),
        ),
        right & client_never_got(b"evil"),
        upstream=((Whole(), Send(first), *later),),
        methods=(method, "GET"),
    )


_CUT: Final = response(_OK, b"Content-Length: 100", body=b"hello")
_CUT_CHUNKED: Final = response(_OK, CHUNKED, body=b"5\r\nhello\r\n")

CASES: Final = (
    # length
    _length("of the body", b"Content-Length: 5", right=_HELLO),
    _length("twice the same", b"Content-Length: 5", b"Content-Length: 5", right=_HELLO | _FAILED),
    _length("twice different", b"Content-Length: 5", b"Content-Length: 4", right=_FAILED),
    _length("in a list of the same", b"Content-Length: 5, 5", right=_HELLO | _FAILED),
    _length("in a list of different ones", b"Content-Length: 5, 4", right=_FAILED),
    _length("of letters", b"Content-Length: abc", right=_FAILED),
    _length("with a plus sign", b"Content-Length: +5", right=_FAILED),
    _length("with a minus sign", b"Content-Length: -5", right=_FAILED),
    _length("in hexadecimal", b"Content-Length: 0x5", right=_FAILED),
    _length("that is empty", b"Content-Length:", right=_FAILED),
    _length("of 2**64 + 5", b"Content-Length: 18446744073709551621", right=_FAILED),
    _length("with a space before the colon", b"Content-Length : 5", right=_FAILED | _HELLO),
    _case(
        "response with Content-Length and Transfer-Encoding",
        Send(response(_OK, b"Content-Length: 3", CHUNKED, body=_CHUNKS)),
        right=_FAILED | (_HELLO & response_has(b"content-length")),
    ),
    _case(
        "response with Transfer-Encoding twice chunked",
        Send(response(_OK, b"Transfer-Encoding: chunked, chunked", body=_CHUNKS)),
        HalfClose(),
        right=_FAILED | aborted(),
        section="9112 6.1",
    ),
    _case(
        "response with Transfer-Encoding in HTTP/1.0",
        Send(response(b"HTTP/1.0 200 OK", CHUNKED, body=_CHUNKS)),
        Close(),
        right=_FAILED | _HELLO,
        section="9112 6.1",
    ),
    _case(
        "response with Transfer-Encoding before a vertical tab",
        Send(response(_OK, b"Transfer-Encoding: \x0bchunked", body=_CHUNKS)),
        HalfClose(),
        right=_FAILED,
        section="9112 6.1",
    ),
    # status lines
    _status("without a reason", b"HTTP/1.1 200 ", _HELLO),
    _status("without the space before the reason", b"HTTP/1.1 200", _HELLO | _FAILED),
    _status("with a reason beyond ASCII", b"HTTP/1.1 200 Gr\xfc\xdfe", _HELLO),
    _status("of HTTP/1.0", b"HTTP/1.0 200 OK", _HELLO),
    _status("of HTTP/1.2", b"HTTP/1.2 200 OK", _HELLO | _FAILED, "9110 2.5"),
    _status("with a status of letters", b"HTTP/1.1 abc OK", _FAILED),
    _status("with a status of two digits", b"HTTP/1.1 20 OK", _FAILED),
    _status("with a status of four digits", b"HTTP/1.1 2000 OK", _FAILED),
    _status("with a negative status", b"HTTP/1.1 -20 OK", _FAILED),
    _status("with status 000", b"HTTP/1.1 000 OK", _FAILED),
    _status("of HTTP/2", b"HTTP/2 200 OK", _FAILED),
    _status("of HTTP/2.0", b"HTTP/2.0 200 OK", _HELLO | _FAILED),
    _status("without a space behind the version", b"HTTP/1.1200 OK", _FAILED),
    _status("of something else", b"ICY 200 OK", _FAILED),
    _status("in lower case", b"http/1.1 200 ok", _FAILED),
    _status("with NUL in the reason", b"HTTP/1.1 200 O\x00K", _FAILED | (_HELLO & client_never_got(b"\x00"))),
    _status(
        "with a bare CR in the reason", b"HTTP/1.1 200 O\rK", _FAILED | (_HELLO & client_never_got(b"O\rK"))
    ),
    _head("response behind an empty line", b"\r\n" + sized(b"hello"), _FAILED | _HELLO, "9112 4"),
    _head("response that is garbage", bytes(range(256)), _FAILED, "9112 4"),
    _head("response of HTTP/0.9", b"<html>hello</html>", _FAILED, "9112 4"),
    _head("response that is a TLS alert", bytes.fromhex("15030100020246"), _FAILED, "9112 4"),
    _head("response that is nothing", b"", _FAILED, "9112 9.5"),
    _head("response with only a status line", b"HTTP/1.1 200 OK\r\n", _FAILED, "9112 8"),
    _head("response cut in its head", b"HTTP/1.1 200 OK\r\nContent-Le", _FAILED, "9112 8"),
    _head("response whose head has no end", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", _FAILED, "9112 8"),
    _head(
        "response with bare LFs", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", _HELLO | _FAILED, "9112 2.2"
    ),
    # fields
    _field(
        "with a space before the colon", b"X-Case : 1", _FAILED | (_HELLO & client_never_got(b"X-Case :"))
    ),
    _field("without a colon", b"X-Case", _FAILED | (_HELLO & client_never_got(b"X-Case"))),
    _field("with an empty name", b": 1", _FAILED | (_HELLO & client_never_got(b"\n: 1"))),
    _field("with a space in its name", b"X Case: 1", _FAILED | (_HELLO & client_never_got(b"X Case"))),
    _field(
        "folded onto a second line",
        b"X-Case: a\r\n b",
        _FAILED | (_HELLO & client_never_got(b"\r\n ")),
        "9112 5.2",
    ),
    _field(
        "with NUL in its value", b"X-Case: a\x00b", _FAILED | (_HELLO & client_never_got(b"\x00")), "9110 5.5"
    ),
    _field(
        "with a bare CR in its value",
        b"X-Case: a\rX-Evil: 1",
        _FAILED | (_HELLO & client_never_got(b"a\rX")),
        "9110 5.5",
    ),
    _field(
        "with a value beyond ASCII", b"X-Case: \xe4", _HELLO & response_has(b"x-case", b"\xe4"), "9110 5.5"
    ),
    _field("of 300 KiB", b"X-Case: " + b"a" * (300 << 10), _FAILED | _HELLO, "9110 5.4"),
    _field("5000 times", b"\r\n".join([b"X-Case: 1"] * 5000), _FAILED | _HELLO, "9110 5.4"),
    _case(
        "response with a head without end",
        Send(b"HTTP/1.1 200 OK\r\nX: "),
        Send(b"a" * 65536, times=100),
        right=_FAILED,
        section="9110 5.4",
    ),
    # chunks
    _chunked("as it should be", _CHUNKS, _HELLO),
    _chunked("with an extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", _HELLO),
    _chunked("with a size that is none", b"g\r\nhello\r\n0\r\n\r\n", _FAILED | aborted()),
    _chunked("with a negative size", b"-5\r\nhello\r\n0\r\n\r\n", _FAILED | aborted()),
    _chunked("with a size in C notation", b"0x5\r\nhello\r\n0\r\n\r\n", _FAILED | aborted()),
    _chunked("with a size of 2**64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n", _FAILED | aborted()),
    _chunked("with a chunk longer than its size", b"5\r\nhelloX\r\n0\r\n\r\n", _FAILED | aborted()),
    _chunked("with a bare LF behind the data", b"5\r\nhello\n0\r\n\r\n", _FAILED | aborted() | _HELLO),
    _chunked("without its last chunk", b"5\r\nhello\r\n", aborted() | _FAILED, "9112 8"),
    _chunked("cut in a chunk", b"5\r\nhel", aborted() | _FAILED, "9112 8"),
    _chunked("cut in a size", b"5\r\nhello\r\n1", aborted() | _FAILED, "9112 8"),
    _chunked(
        "cut before the end of the trailers", b"5\r\nhello\r\n0\r\n", aborted() | _FAILED | _HELLO, "9112 8"
    ),
    _chunked(
        "with a framing field in its trailers",
        b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
        _FAILED | aborted() | (_HELLO & response_trailer(b"content-length")),
        "9110 6.5.1",
    ),
    _chunked(
        "with a malformed trailer",
        b"5\r\nhello\r\n0\r\nX Case : 1\r\n\r\n",
        _FAILED | aborted() | (_HELLO & client_never_got(b"X Case")),
        "9112 7.1.2",
    ),
    # cut bodies
    _case(
        "body cut by the end of the connection", Send(_CUT), HalfClose(), right=aborted(), section="9112 8"
    ),
    _case(
        "body cut by a close",
        Send(_CUT),
        Until("client", b"hello"),
        Close(),
        right=aborted(),
        section="9112 8",
    ),
    _case(
        "body cut by a reset",
        Send(_CUT),
        Until("client", b"hello"),
        Reset(),
        right=aborted(),
        section="9112 8",
    ),
    _case(
        "chunked body cut by a close",
        Send(_CUT_CHUNKED),
        Until("client", b"hello"),
        Close(),
        right=aborted(),
        section="9112 8",
    ),
    _case(
        "chunked body cut by a reset",
        Send(_CUT_CHUNKED),
        Until("client", b"hello"),
        Reset(),
        right=aborted(),
        section="9112 8",
    ),
    _case(
        "chunked body with a bad chunk in the middle",
        Send(_CUT_CHUNKED),
        Until("client", b"hello"),
        Send(b"oops\r\n"),
        HalfClose(),
        right=aborted(),
        section="9112 7.1",
    ),
    _case(
        "close-delimited body",
        Send(response(_OK, b"Connection: close", body=b"hello")),
        Close(),
        right=_HELLO,
    ),
    _case(
        "close-delimited body cut by a reset",
        Send(response(_OK, b"Connection: close", body=b"hello")),
        Until("client", b"hello"),
        Reset(),
        right=aborted(),
        section="9112 8",
    ),
    _case(
        "chunked body cut by a close, for a client of HTTP/1.0",
        Send(_CUT_CHUNKED),
        Until("client", b"hello"),
        Close(),
        right=aborted(),
        section="9112 8",
        sent=request(b"GET / HTTP/1.0"),
    ),
    _case(
        "body that stalls", Send(_CUT), Until("client", b"hello"), Pause(9), right=aborted(), section="9112 8"
    ),
    # more than was asked for
    _extra("two responses at once", sized(b"answer") + _EVIL),
    _extra("a second response a little later", sized(b"answer"), Pause(0.05), Send(_EVIL)),
    _extra("garbage behind a response", sized(b"answer") + b"evil\r\n\r\n"),
    _extra(
        "a response behind a chunked one", response(_OK, CHUNKED, body=b"6\r\nanswer\r\n0\r\n\r\n") + _EVIL
    ),
    _extra(
        "a body behind a HEAD response",
        sized(_EVIL),
        line=b"HEAD",
        right=answered(200, body=b"answer", count=2),
    ),
    _extra("a body behind 204", response(b"HTTP/1.1 204 No Content") + _EVIL),
    _extra("a body behind 304", response(b"HTTP/1.1 304 Not Modified") + _EVIL),
    _extra("a body longer than its length", response(_OK, b"Content-Length: 6", body=b"answerevil")),
    _extra(
        "408 on an idle connection",
        sized(b"answer"),
        Pause(0.05),
        Send(sized(b"evil", line=b"HTTP/1.1 408 Request Timeout")),
        Close(),
    ),
    _extra(
        "a chunked body behind 204", response(b"HTTP/1.1 204 No Content", CHUNKED) + b"4\r\nevil\r\n0\r\n\r\n"
    ),
    # informational
    _case(
        "100 that nobody asked for",
        Send(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"hello")),
        right=_HELLO,
        section="9110 15.2",
    ),
    _case(
        "100 with a Content-Length",
        Send(b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + sized(b"hello")),
        right=_HELLO | _FAILED,
        section="9110 15.2",
    ),
    _case(
        "103 for a client of HTTP/1.0",
        Send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + sized(b"hello")),
        right=_HELLO & informed(),
        section="9110 15.2",
        sent=request(b"GET / HTTP/1.0"),
    ),
    _case(
        "50 informational responses",
        Send(b"HTTP/1.1 102 Processing\r\n\r\n" * 50 + sized(b"hello")),
        right=_HELLO | _FAILED,
        section="9110 15.2",
    ),
    _case(
        "informational responses without end",
        Send(b"HTTP/1.1 102 Processing\r\n\r\n" * 100, times=400, every_s=0.01),
        right=_FAILED | closed(),
        section="9110 15.2",
    ),
    _case(
        "only an informational response",
        Send(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        HalfClose(),
        right=_FAILED | aborted(),
        section="9110 15.2",
    ),
    _case(
        "101 that nobody asked for",
        Send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nevil"),
        right=_FAILED & client_never_got(b"evil"),
        section="9110 15.2.2",
    ),
)
