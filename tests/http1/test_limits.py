from __future__ import annotations

import pytest

from bgproxy.errors import ProxyError
from bgproxy.http1 import limits
from bgproxy.http1.framing import ChunkedScanner
from bgproxy.http1.head import RequestHead, parse_request
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


def test_a_request_line_up_to_the_limit_is_accepted_and_a_longer_one_is_414() -> None:
    rest = b"Host: a\r\n\r\n"
    assert accepted_request(request_line(limits.REQUEST_LINE_BYTES) + rest)
    assert feed_request(request_line(limits.REQUEST_LINE_BYTES + 1) + rest) == Refused(414)
    assert feed_request(request_line(limits.REQUEST_LINE_BYTES + 1)) == Refused(414)
    assert feed_request(b"G" * (limits.REQUEST_LINE_BYTES + 1)) == Refused(414)


def test_a_memo_does_not_excuse_a_long_request_line() -> None:
    rest = b"Host: a\r\n\r\n"
    memo = accepted_request(b"GET / HTTP/1.1\r\n" + rest)
    with pytest.raises(ProxyError) as refusal:
        parse_request(request_line(limits.REQUEST_LINE_BYTES + 1) + rest, memo)
    assert refusal.value.status == 414


def test_a_header_block_up_to_the_limit_is_accepted_and_a_larger_one_is_431() -> None:
    line = b"GET / HTTP/1.1\r\n"
    assert accepted_request(line + block(limits.HEADER_BLOCK_BYTES) + b"\r\n")
    assert feed_request(line + block(limits.HEADER_BLOCK_BYTES + 1) + b"\r\n") == Refused(431)
    assert feed_request(line + padded(limits.HEADER_BLOCK_BYTES + 2, b"X: ", b"")) == Refused(431)


def test_header_fields_up_to_the_limit_are_accepted_and_one_more_is_431() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (limits.HEADER_COUNT - 1)
    assert accepted_request(head + b"\r\n")
    assert feed_request(head + b"X: y\r\n\r\n") == Refused(431)
    assert feed_request(head + b"X: y\r\n") == Refused(431)


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

    data = body(limits.CHUNK_LINE_BYTES)
    assert feed_body(data) == Body(data, b"", done=True)
    assert feed_body(body(limits.CHUNK_LINE_BYTES + 1)) == Refused(400)
    assert feed_body(b"1;" + b"a" * limits.CHUNK_LINE_BYTES) == Refused(400)


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
