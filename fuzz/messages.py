"""What a fuzzer begins with: valid messages, the lines that have broken parsers, and ways to damage them. Pure."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Final

TARGETS: Final = ("request", "response", "chunked")

_REQUEST_LINES: Final = (
    b"GET / HTTP/1.1",
    b"POST /a/b?c=d HTTP/1.1",
    b"HEAD /%00 HTTP/1.0",
    b"PUT http://b:81/x?y HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"g-e_t //b HTTP/1.9",
)
_STATUS_LINES: Final = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 404 Not \xfcber",
    b"HTTP/1.2 500",
    b"HTTP/1.1 204 No",
    b"HTTP/1.1 304 Same",
    b"HTTP/1.1 103 Early",
    b"HTTP/1.1 101 Up",
)
_BLOCKS: Final = (
    (),
    (b"Accept: */*", b"User-Agent: curl/8", b"Connection: keep-alive"),
    (b"Accept: */*", b"Cookie: a=b; c", b"Connection: keep-alive"),
    (b"Content-Length: 5",),
    (b"Transfer-Encoding: chunked", b"Trailer: X-Sum"),
    (b"Connection: Upgrade, X-Hop", b"Upgrade: websocket", b"X-Hop: 1", b"Keep-Alive: timeout=5, max=9"),
    (
        b"X-Forwarded-For: 10.0.0.1",
        b"Forwarded: for=10.0.0.1",
        b"X-Request-Id: Ab-1",
        b"Via: 1.1 a",
        b"traceparent: 00-a",
    ),
)
_BODIES: Final = (
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"1\r\na\r\n2\r\nbc\r\nA\r\n0123456789\r\n00\r\nX-Sum: 1\r\n\r\n",
    b'1;a\r\nx\r\n1 ; b = c ;d="e;\\""\r\ny\r\n10\r\n0123456789abcdef\r\n0;last\r\nX:\r\nY: z\r\n\r\n',
)

_LENGTHS: Final = (1, 2, 15, 16, 18)
_EXTENSIONS: Final = (b"", b";a", b' ; a = b;c="\\"d;"')
_TRAILERS: Final = (b"", b"X-Sum: 1\r\n", b"X:\r\nY: \xff\r\n")

# Whole lines, to be put between others.
LINES: Final = (
    *(b"Cookie: " + value for value in (b"a=b", b"", b"a\x00")),
    *(b"Host: " + value for value in (b"a", b"", b"b:81", b"[::1]:80", b"a b", b"a,b", b"a%41")),
    *(
        b"Content-Length: " + value
        for value in (b"0", b"5", b"+5", b"5, 5", b"0x5", b"005", b"18446744073709551621")
    ),
    *(
        b"Transfer-Encoding: " + value
        for value in (
            b"chunked",
            b"Chunked ",
            b"chunked, chunked",
            b"identity",
            b"\tchunked \t",
            b"x\x0bchunked",
        )
    ),
    *(
        b"Connection: " + value
        for value in (
            b"close",
            b"close, Content-Length",
            b"keep-alive",
            b"Upgrade",
            b"host, Transfer-Encoding",
            b"Te",
            b",",
        )
    ),
    *(b"Upgrade: " + value for value in (b"websocket", b"h2c", b"a, b")),
    *(b"Expect: " + value for value in (b"100-continue", b"x")),
    b"Content-Length:\t5 \t",
    b"Content-Length : 5",
    b"Transfer-Encoding : chunked",
    b" Transfer-Encoding: chunked",
    b"Content_Length: 5",
    b"Transfer_Encoding: chunked",
    b"X_Forwarded-For: 1",
    b"X-Forwarded-Host: a",
    b"TE: trailers",
    b"Trailer: a",
    b"Proxy-Connection: keep-alive",
    b"Keep-Alive: timeout=5",
    b"X:\t\xe9 \t",
    b": a",
    b"X",
    b"X: a\x00b",
    b"X: a\rb",
    b"",
    b"0",
    b"5",
    b"5;a=b",
    b'5;a="\r\n"',
    b"0x5",
    b"-1",
    b"FFFFFFFFFFFFFFFF",
    b"000000000000005",
    b"PRI * HTTP/2.0",
    b"CONNECT a:443 HTTP/1.1",
    b"GET / HTTP/1.1",
    b"HTTP/1.1 100 Continue",
)
_ENDS: Final = (b"\n", b"\r", b"\r\n ", b"\r\r\n", b"\n\r\n", b"\x00\r\n", b" \r\n", b"\x0b\r\n", b"\r\n\r\n")
_BYTES: Final = b'\x00\t\n\x0b\x0c\r !"#%*+,-./0159:;=?@ACDX[\\]_acdx\x7f\x80\x85\xa0\xff'


def seeds(target: str) -> list[bytes]:
    """Valid messages of one kind."""
    if target == "chunked":
        return [
            _chunked(length, extension, trailer)
            for length, extension, trailer in product(_LENGTHS, _EXTENSIONS, _TRAILERS)
        ]
    starts = _REQUEST_LINES if target == "request" else _STATUS_LINES
    host = (b"Host: a",) if target == "request" else (b"Server: x",)
    return [
        b"\r\n".join((start, *host, *block)) + b"\r\n\r\n" + body
        for start, block, body in product(starts, _BLOCKS, _BODIES)
        if body[:1] in _likely(block)
    ]


def dictionary() -> list[bytes]:
    """Words to be put anywhere."""
    words = {word for line in LINES for word in (line, line.partition(b":")[0], line.partition(b": ")[2])}
    return sorted((words | set(_ENDS)) - {b""})


def damaged(data: bytes, random: Random) -> bytes:
    """One to three changes: of lines, of their ends, or of single bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 3))):
        data = random.choice(_DAMAGES)(data, random)
    return data


# Private


def _chunked(length: int, extension: bytes, trailer: bytes) -> bytes:
    """Three chunks, the middle one of that length."""
    chunks = ((b"0%x", 1), (b"%x", length), (b"%X", 10))
    lines = [
        size % count + extension + b"\r\n" + b"\r\n0123456789abcdef"[:count] + b"\r\n"
        for size, count in chunks
    ]
    return b"".join(lines) + b"0" + extension + b"\r\n" + trailer + b"\r\n"


def _likely(block: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """How a body begins that goes with these fields."""
    if b"Content-Length: 5" in block:
        return (b"h",)
    return (b"5", b"1") if b"Transfer-Encoding: chunked" in block else (b"",)


def _line_put_in(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(random.randint(0, len(lines)), random.choice(LINES))
    return b"\r\n".join(lines)


def _line_replaced(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\r\n")
    lines[random.randrange(len(lines))] = random.choice(LINES)
    return b"\r\n".join(lines)


def _line_moved(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\r\n")
    line = random.choice(lines)
    if random.random() < 0.5:
        lines.remove(line)
    lines.insert(random.randint(0, len(lines)), line)
    return b"\r\n".join(lines)


def _end_replaced(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\r\n")
    at = random.randrange(len(lines))
    return b"\r\n".join(lines[:at]) + random.choice(_ENDS) + b"\r\n".join(lines[at:])


def _bytes_replaced(data: bytes, random: Random) -> bytes:
    at = random.randint(0, len(data))
    put = bytes(random.choices(_BYTES, k=random.randint(0, 2)))
    return data[:at] + put + data[at + random.randint(0, 2) :]


def _case_changed(data: bytes, random: Random) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + data[at : at + 9].swapcase() + data[at + 9 :]


def _cut_off(data: bytes, random: Random) -> bytes:
    return data[: random.randint(0, len(data))]


_DAMAGES: Final = (
    *(_line_put_in, _line_put_in, _line_replaced, _line_moved, _end_replaced),
    *(_bytes_replaced, _bytes_replaced, _case_changed, _cut_off),
)
