"""Parts: heads and bodies as bytes. Parsing with and without a memo, rewriting, chunks."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from typing import Final

from benchmarks.micro.part import Call, Part
from bgproxy.http1.forwarding import Client, identity, lines
from bgproxy.http1.framing import ChunkedScanner
from bgproxy.http1.head import RequestHead, ResponseHead, parse_request, parse_response
from bgproxy.http1.rewrite import request_head, response_head
from bgproxy.model import Forwarding

SMALL: Final = b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
BROWSER: Final = (
    b"GET /index.html HTTP/1.1\r\n"
    b"Host: app.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Linux"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-User: ?1\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: session=0123456789abcdef; theme=dark\r\n"
    b"Cache-Control: max-age=0\r\n"
    b"\r\n"
)
# Of the same client, for something else.
BROWSER_NEXT: Final = BROWSER.replace(b"/index.html", b"/style.css?v=7", 1)
RESPONSE_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nServer: app\r\nDate: Fri, 20 Nov 2026 06:43:15 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n"
)
CHUNKED_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nServer: app\r\nDate: Fri, 20 Nov 2026 06:43:15 GMT\r\nContent-Type: text/plain\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
SMALL_BODY: Final = b"hello from an upstream: a small answer\n"
CHUNKS: Final = (b"400\r\n" + b"x" * 1024 + b"\r\n") * 15 + b"0\r\n\r\n"
TINY_CHUNKS: Final = b"1\r\nx\r\n" * 256 + b"0\r\n\r\n"

_CLIENT: Final = Client(b"192.0.2.1", b"http", b"8080", trusted=False)
_FORWARDING: Final = Forwarding()


def request(data: bytes) -> RequestHead:
    head = parse_request(data)
    assert head is not None  # noqa: S101 - these are whole
    return head


def response(data: bytes) -> ResponseHead:
    head = parse_response(data)
    assert head is not None  # noqa: S101 - these are whole
    return head


# Private


def _request_of_another_block() -> Call:
    """A memo that is of no use is looked at, and costs that."""
    return partial(parse_request, BROWSER, request(SMALL))


def _request_repeated() -> Call:
    return partial(parse_request, BROWSER, request(BROWSER))


def _request_of_the_same_block() -> Call:
    return partial(parse_request, BROWSER_NEXT, request(BROWSER))


def _response_repeated() -> Call:
    data = RESPONSE_HEAD % len(SMALL_BODY) + SMALL_BODY
    return partial(parse_response, data, response(data))


def _told() -> Call:
    head = request(BROWSER)
    return partial(lines, head.fields, head.host, head.minor, _CLIENT, _FORWARDING)


def _rewritten() -> Call:
    head = request(BROWSER)
    told = lines(head.fields, head.host, head.minor, _CLIENT, _FORWARDING)
    return partial(request_head, head, told)


def _request_id() -> Call:
    line = identity(_FORWARDING, request(BROWSER).fields)
    assert line is not None  # noqa: S101 - by default every request has one
    return line


def _response_rewritten() -> Call:
    head = response(RESPONSE_HEAD % 5)
    return partial(response_head, head, set_cookie=b"bgproxy=r1.7.i; Path=/; Max-Age=3600")


def _chunks(*reads: bytes) -> Call:
    pieces = cycle(reads)

    def scan() -> None:
        scanner = ChunkedScanner(502)
        for _ in reads:
            scanner.feed(next(pieces))

    return scan


PARTS: Final = (
    Part("request head, small", lambda: partial(parse_request, SMALL)),
    Part("request head, 16 headers", lambda: partial(parse_request, BROWSER)),
    Part("request head, 16 headers, another's memo", _request_of_another_block),
    Part("request head, 16 headers, same as the last", _request_repeated),
    Part("request head, 16 headers, another target", _request_of_the_same_block),
    Part("response head", lambda: partial(parse_response, RESPONSE_HEAD % 5)),
    Part("response head, same as the last", _response_repeated),
    Part("X-Forwarded and Via", _told),
    Part("request head rewritten", _rewritten),
    Part("X-Request-Id", _request_id),
    Part("response head rewritten, with a cookie", _response_rewritten),
    Part("15 chunks of 1 KiB", lambda: _chunks(CHUNKS)),
    Part("15 chunks of 1 KiB, in two reads", lambda: _chunks(CHUNKS[:5000], CHUNKS[5000:])),
    Part("256 chunks of a byte", lambda: _chunks(TINY_CHUNKS)),
)
