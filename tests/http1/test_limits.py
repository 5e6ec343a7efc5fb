from __future__ import annotations

import pytest

from bgproxy.errors import ProxyError
from bgproxy.http1 import limits
from bgproxy.http1.framing import ChunkedScanner
from bgproxy.http1.head import RequestHead, parse_request
from bgproxy.model import HeadLimits
from tests.http1.feeding import (
    Body,
    Refused,
    accepted_request,
    accepted_response,
    feed_body,
    feed_request,
    feed_response,
)


def padded(size_bytes: int, begin: bytes, end: bytes) -> bytes:
    return begin + b"a" * (size_bytes - len(begin) - len(end)) + end


def request_line(size_bytes: int) -> bytes:
    return padded(size_bytes, b"GET /", b" HTTP/1.1\r\n")


def block(size_bytes: int) -> bytes:
    return padded(size_bytes, b"Host: a\r\nX: ", b"\r\n")


def within(data: bytes, bounds: HeadLimits) -> bool:
    return isinstance(feed_request(data, bounds), RequestHead)


HEAD_LIMITS = [
    HeadLimits(),
    HeadLimits(request_line_bytes=64, header_block_bytes=128, header_count=3),
    HeadLimits(request_line_bytes=16 * 1024, header_block_bytes=40 * 1024, header_count=200),
]


@pytest.mark.parametrize("bounds", HEAD_LIMITS)
def test_a_request_line_up_to_the_limit_is_accepted_and_a_longer_one_is_414(bounds: HeadLimits) -> None:
    rest = b"Host: a\r\n\r\n"
    assert within(request_line(bounds.request_line_bytes) + rest, bounds)
    longer = request_line(bounds.request_line_bytes + 1)
    for data in (longer + rest, longer, b"G" * (bounds.request_line_bytes + 1)):
        assert feed_request(data, bounds) == Refused(414)


def test_a_memo_does_not_excuse_a_long_request_line() -> None:
    rest = b"Host: a\r\n\r\n"
    memo = accepted_request(b"GET / HTTP/1.1\r\n" + rest)
    with pytest.raises(ProxyError) as refusal:
        parse_request(request_line(HeadLimits().request_line_bytes + 1) + rest, memo)
    assert refusal.value.status == 414


@pytest.mark.parametrize("bounds", HEAD_LIMITS)
def test_a_header_block_up_to_the_limit_is_accepted_and_a_larger_one_is_431(bounds: HeadLimits) -> None:
    line, size_bytes = b"GET / HTTP/1.1\r\n", bounds.header_block_bytes
    assert within(line + block(size_bytes) + b"\r\n", bounds)
    assert feed_request(line + block(size_bytes + 1) + b"\r\n", bounds) == Refused(431)
    assert feed_request(line + padded(size_bytes + 2, b"X: ", b""), bounds) == Refused(431)


@pytest.mark.parametrize("bounds", HEAD_LIMITS)
def test_header_fields_up_to_the_limit_are_accepted_and_one_more_is_431(bounds: HeadLimits) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (bounds.header_count - 1)
    assert within(head + b"\r\n", bounds)
    assert feed_request(head + b"X: y\r\n\r\n", bounds) == Refused(431)
    assert feed_request(head + b"X: y\r\n", bounds) == Refused(431)


@pytest.mark.parametrize(
    "template", [b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n", b"GET http://%b/ HTTP/1.1\r\nHost: a\r\n\r\n"]
)
def test_a_host_is_no_longer_than_a_name_may_be(template: bytes) -> None:
    """Routing looks at every label of it, and remembers it."""
    assert accepted_request(template % (b"a" * limits.HOST_BYTES + b":8000"))
    assert feed_request(template % (b"a" * (limits.HOST_BYTES + 1))) == Refused(400)
    assert feed_request(template % (b"[" + b":" * 46 + b"]")) == Refused(400)


def test_a_response_head_up_to_the_limit_is_accepted_and_a_larger_one_is_502() -> None:
    def head(size_bytes: int) -> bytes:
        return padded(size_bytes, b"HTTP/1.1 200 OK\r\nX: ", b"\r\n\r\n")

    assert accepted_response(head(limits.RESPONSE_HEAD_BYTES))
    assert feed_response(head(limits.RESPONSE_HEAD_BYTES + 1)) == Refused(502)
    assert feed_response(head(2 * limits.RESPONSE_HEAD_BYTES)) == Refused(502)
    assert feed_response(b"H" * (limits.RESPONSE_HEAD_BYTES + 1)) == Refused(502)
    assert feed_response(padded(limits.RESPONSE_HEAD_BYTES + 1, b"HTTP/1.1 200 ", b"\r\n\r\n")) == Refused(
        502
    )


def test_a_chunk_line_up_to_the_limit_is_accepted_and_a_longer_one_is_not() -> None:
    def body(size_bytes: int) -> bytes:
        return padded(size_bytes, b"1;a=", b"\r\n") + b"x\r\n0\r\n\r\n"

    assert feed_body(body(limits.CHUNK_LINE_BYTES)) == Body(b"1\r\nx\r\n0\r\n\r\n", b"", done=True)
    assert feed_body(body(limits.CHUNK_LINE_BYTES + 1)) == Refused(400)
    assert feed_body(b"1;" + b"a" * limits.CHUNK_LINE_BYTES) == Refused(400)


@pytest.mark.parametrize("extension_bytes", [1024, 1000, 16])
def test_the_extensions_of_all_chunks_together_are_bounded(extension_bytes: int) -> None:
    """They cost a peer little, and the application never sees them."""
    chunk = b"1;" + b"a" * (extension_bytes - 1) + b"\r\nx\r\n"
    count = limits.CHUNK_EXTENSIONS_BYTES // extension_bytes
    scanner = ChunkedScanner(400)
    for _ in range(count):
        scanner.feed(chunk)
    with pytest.raises(ProxyError):
        scanner.feed(chunk)
    with pytest.raises(ProxyError):
        ChunkedScanner(400).feed(chunk * (count + 1))


def test_a_trailer_up_to_the_limit_is_accepted_and_a_longer_one_is_not() -> None:
    def scan(size_bytes: int, first_bytes: int) -> bool:
        data = b"0\r\n" + padded(size_bytes, b"X: ", b"\r\n\r\n")
        scanner = ChunkedScanner(502)
        scanner.feed(data[:first_bytes])
        scanner.feed(data[first_bytes:])
        return scanner.done

    for first_bytes in (0, 1, 5, limits.TRAILER_BYTES):
        assert scan(limits.TRAILER_BYTES, first_bytes)
        with pytest.raises(ProxyError):
            scan(limits.TRAILER_BYTES + 1, first_bytes)


def test_a_body_behind_a_small_head_does_not_count_against_any_limit() -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n" + b"\n" * 99_999
    assert isinstance(parse_request(data), RequestHead)
