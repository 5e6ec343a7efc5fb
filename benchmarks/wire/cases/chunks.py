"""The chunked coding of requests: sizes, extensions, terminators, trailers (RFC 9112 section 7.1)."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import CHUNKED, Case, HalfClose, Script, Send, request
from benchmarks.wire.judge import Judge, forwarded, refused, request_has, request_trailer, upstream_ended

_HIDDEN: Final = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: wire.test\r\n\r\n"
_EITHER: Final = refused() | forwarded(b"hello")


def _chunks(name: str, body: bytes, right: Judge, *, section: str = "9112 7.1", end: bool = False) -> Case:
    client: Script = (Send(request(b"POST / HTTP/1.1", CHUNKED, body=body)),)
    if end:
        client += (HalfClose(),)
    return Case(name, section, client, right, methods=("POST",))


def _size(name: str, size: bytes, right: Judge) -> Case:
    return _chunks(f"chunk size {name}", size + b"\r\nhello\r\n0\r\n\r\n", right)


def _trailer(name: str, lines: bytes, right: Judge) -> Case:
    return _chunks(f"trailer {name}", b"5\r\nhello\r\n0\r\n" + lines + b"\r\n", right, section="9112 7.1.2")


_WITHOUT: Final = forwarded(b"hello") & request_has(b"content-length")

CASES: Final = (
    _size("5", b"5", forwarded(b"hello")),
    _size("with leading zeros", b"0005", forwarded(b"hello")),
    _size("with 40 leading zeros", b"0" * 40 + b"5", _EITHER),
    _chunks(
        "chunk size in both cases of letters",
        b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        forwarded(b"0123456789" * 2),
    ),
    _size("in C notation", b"0x5", refused()),
    _size("with a plus sign", b"+5", refused()),
    _size("with a minus sign", b"-5", refused()),
    _size("behind a space", b" 5", refused()),
    _size("before a space", b"5 ", _EITHER),
    _size("before a tab", b"5\t", _EITHER),
    _size("with an underscore", b"0_5", refused()),
    _size("with a letter behind it", b"5g", refused()),
    _size("that is none", b"g", refused()),
    _size("that is empty", b"", refused()),
    _size("of two numbers", b"5 5", refused()),
    _size("of 2**64 + 5", b"10000000000000005", refused()),
    _size("of 2**64 - 1", b"FFFFFFFFFFFFFFFF", refused()),
    _size("of 2**32 + 5, read by 32 bits", b"100000005", refused()),
    _size("with NUL behind it", b"5\x00", refused()),
    _size("with a bare CR behind it", b"5\rX", refused()),
    _chunks("chunk size line ended by a bare LF", b"5\nhello\r\n0\r\n\r\n", _EITHER),
    _chunks("chunk size line ended by a bare CR", b"5\rhello\r\n0\r\n\r\n", refused()),
    # extensions
    _size("with an extension", b"5;name=value", forwarded(b"hello")),
    _size("with a quoted extension", b'5;name="a value; \\" and more"', forwarded(b"hello")),
    _size("with an extension without a value", b"5;name", forwarded(b"hello")),
    _size("with whitespace around the extension", b"5 ; name = value", _EITHER),
    _size("with an empty extension", b"5;", _EITHER),
    _size("with a bare LF in the extension", b"5;a\nX", refused()),
    _size("with a bare CR in the extension", b"5;a\rX", refused()),
    _size("with NUL in the extension", b"5;a\x00", _EITHER),
    _size("with an extension of 64 KiB", b"5;" + b"a" * (64 << 10), _EITHER),
    _chunks(
        "TERM.EXT: an extension that ends in a bare LF hides a chunk",
        b"2;\nxx\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(_HIDDEN), _HIDDEN),
        refused() | forwarded(b"xx" + _HIDDEN),
    ),
    _chunks(
        "EXT.TERM: an extension that is read across a bare LF hides a chunk",
        b"5;\nhello\r\n2\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: wire.test\r\n\r\n",
        refused(),
    ),
    # data and its end
    _chunks("chunk longer than its size", b"5\r\nhelloX\r\n0\r\n\r\n", refused()),
    _chunks("chunk shorter than its size", b"5\r\nhell\r\n0\r\n\r\n", refused() | forwarded(b"hell\r")),
    _chunks("chunk data ended by a bare LF", b"5\r\nhello\n0\r\n\r\n", _EITHER),
    _chunks("chunk data ended by two other bytes", b"5\r\nhelloXX0\r\n\r\n", refused()),
    _chunks("chunk data ended by a bare CR", b"5\r\nhello\r0\r\n\r\n", refused()),
    _chunks("chunk data ended by nothing", b"5\r\nhello0\r\n\r\n", refused()),
    _chunks("last chunk of many zeros", b"5\r\nhello\r\n000000\r\n\r\n", forwarded(b"hello")),
    _chunks("last chunk with an extension", b"5\r\nhello\r\n0;a=b\r\n\r\n", forwarded(b"hello")),
    _chunks("last chunk with bare LFs", b"5\r\nhello\r\n0\n\n", _EITHER),
    _chunks(
        "no last chunk, then the end",
        b"5\r\nhello\r\n",
        refused() & upstream_ended("closed", "reset", "never opened"),
        end=True,
    ),
    _chunks(
        "an end in a chunk",
        b"5\r\nhel",
        refused() & upstream_ended("closed", "reset", "never opened"),
        end=True,
    ),
    _chunks("an end behind the last chunk's line", b"5\r\nhello\r\n0\r\n", refused(), end=True),
    _chunks("no body at all, then the end", b"", refused(), end=True),
    _chunks("2000 chunks of a byte", b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n", forwarded(b"x" * 2000)),
    # trailers
    _trailer("that is legal", b"X-Check: 1\r\n", forwarded(b"hello")),
    _trailer(
        "Content-Length",
        b"Content-Length: 7\r\n",
        refused() | (_WITHOUT & request_trailer(b"content-length")),
    ),
    _trailer(
        "Transfer-Encoding",
        b"Transfer-Encoding: identity\r\n",
        refused() | (forwarded(b"hello") & request_trailer(b"transfer-encoding")),
    ),
    _trailer(
        "Host",
        b"Host: evil\r\n",
        refused() | (forwarded(b"hello", host=b"wire.test") & request_trailer(b"host")),
    ),
    _trailer(
        "Connection",
        b"Connection: close\r\n",
        refused() | (forwarded(b"hello") & request_trailer(b"connection")),
    ),
    _trailer("without a colon", b"GET /smuggled HTTP/1.1\r\n", refused()),
    _trailer("with a space before the colon", b"X-Check : 1\r\n", refused()),
    _trailer("with an empty name", b": 1\r\n", refused()),
    _trailer("with NUL", b"X-Check: \x00\r\n", refused()),
    _trailer("folded onto a second line", b"X-Check: 1\r\n 2\r\n", _EITHER),
    _trailer("with a bare CR", b"X-Check: 1\rX-Other: 2\r\n", _EITHER),
    _trailer("of 100 KiB", b"X-Check: " + b"a" * (100 << 10) + b"\r\n", _EITHER),
)
