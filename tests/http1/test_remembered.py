"""Whatever is remembered, a head means what it means when it is read anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.errors import ProxyError
from bgproxy.http1.fields import DEFAULT_LIMITS
from bgproxy.http1.head import parse_request
from bgproxy.http1.limits import REMEMBERED_BLOCKS, REMEMBERED_BYTES, REMEMBERED_HEADS
from bgproxy.http1.remembered import RequestHeads
from bgproxy.model import HeadLimits
from tests.http1.feeding import meaning, request

LINES = (
    b"Accept: */*",
    b"Cookie: a=1",
    b"Cookie: b=2; c",
    b"Cookie: ",
    b"cookie: d=3",
    b"Connection: keep-alive",
    b"Connection: close, cookie",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked ",
    b"X-Forwarded-For: 10.0.0.1",
    b"traceparent: 00-a",
    b"X-Cookie: e",
    b"Cookie : f",
    b"Cookie: g\x00",
    b"Cookie: h\ni: j",
    b"\r",
)


def read(heads: RequestHeads, data: bytes) -> dict[str, Any] | int | None:
    """What a head means, or why it is refused."""
    try:
        head = heads.read(data, None)
    except ProxyError as error:
        return error.status
    return None if head is None else meaning(head)


def anew(data: bytes, limits: HeadLimits = DEFAULT_LIMITS) -> dict[str, Any] | int | None:
    return read(RequestHeads(limits), data)


def test_a_head_that_was_read_is_not_read_again_whoever_sends_it() -> None:
    heads = RequestHeads(DEFAULT_LIMITS)
    first, second = (request(b"A: b", host=host) for host in (b"Host: a", b"Host: b"))
    one, other = heads.read(first, None), heads.read(second, None)
    assert heads.read(first, other) is one
    assert heads.read(second, one) is other


def test_a_head_is_known_only_without_anything_behind_it() -> None:
    heads = RequestHeads(DEFAULT_LIMITS)
    whole = request(b"Content-Length: 5")
    head = heads.read(whole, None)
    assert head is not None
    assert heads.read(whole[:-1], None) is None
    with_body = heads.read(whole + b"hello", None)
    assert with_body is not None
    assert (with_body.raw, meaning(with_body)) == (whole, meaning(head))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("removed", [(), (b"Connection: keep-alive", b"Keep-Alive: 5")])
def test_of_a_known_block_only_the_cookie_is_read(place: int, removed: tuple[bytes, ...]) -> None:
    heads = RequestHeads(DEFAULT_LIMITS)
    for cookie in (b"a=1", b"", b"b=2; c=\xff\t"):
        lines = [*removed, b"Accept: */*", b"Content-Length: 5"]
        lines.insert(place, b"Cookie: " + cookie)
        assert read(heads, request(*lines)) == anew(request(*lines))


def test_of_two_cookies_the_one_that_differs_stays_in_its_place() -> None:
    """What goes on begins with the first of them here, so only the other one is found in it."""
    heads = RequestHeads(DEFAULT_LIMITS)
    for cookie in (b"Cookie: a", b"Cookie: b"):
        data = request(b"Connection: keep-alive", cookie, b"Cookie: a", b"Host: a", host=b"")
        assert read(heads, data) == anew(data)


def test_a_cookie_that_is_malformed_is_refused_in_a_known_block() -> None:
    heads = RequestHeads(DEFAULT_LIMITS)
    assert isinstance(read(heads, request(b"Cookie: a=1")), dict)
    for cookie in (b"a\x00", b"a\nb: c", b"a\rb", b"a\x7f"):
        assert read(heads, request(b"Cookie: " + cookie)) == 400


def test_a_block_that_is_whole_only_without_its_cookie_is_refused() -> None:
    """Cut out in another place, it leaves the same bytes."""
    heads = RequestHeads(DEFAULT_LIMITS)
    assert isinstance(read(heads, b"GET / HTTP/1.1\r\nHost: a\r\nCookie: b\r\nC: d\r\n\r\n"), dict)
    for data in (
        b"GET / HTTP/1.1\r\nHost: a\r\r\nCookie: b\r\nC: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nC: d\r\r\nCookie: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nC: d\r\r\nCookie: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: b\r\n\nC: d\r\n\r\n",
    ):
        assert read(heads, data) == 400


def test_the_limits_of_a_head_hold_for_what_is_known() -> None:
    limits = HeadLimits(request_line_bytes=64, header_block_bytes=64, header_count=3)
    heads = RequestHeads(limits)
    for _ in range(2):
        assert isinstance(read(heads, request(b"Cookie: a", b"B: c")), dict)
        assert read(heads, request(b"Cookie: " + b"a" * 64, b"B: c")) == 431
        assert read(heads, request(b"Cookie: a", b"B: c", b"D: e")) == 431
        assert read(heads, request(b"Cookie: a", b"B: c", start=b"GET /%b HTTP/1.1" % (b"a" * 64))) == 414


def test_what_is_remembered_is_bounded() -> None:
    heads = RequestHeads(DEFAULT_LIMITS)
    for number in range(3 * REMEMBERED_HEADS):
        assert heads.read(request(b"Cookie: a", b"X: %d" % number), None)
        assert 0 < len(heads._heads) <= REMEMBERED_HEADS
        assert 0 < len(heads._blocks) <= REMEMBERED_BLOCKS
    large = request(b"Cookie: a", b"X: " + b"x" * REMEMBERED_BYTES)
    known = len(heads._heads), len(heads._blocks)
    assert heads.read(large, None) is not heads.read(large, None)
    assert (len(heads._heads), len(heads._blocks)) == known


@given(st.lists(st.lists(st.sampled_from(LINES), max_size=5), max_size=8))
def test_whatever_came_before_a_head_means_what_it_means_alone(blocks: list[list[bytes]]) -> None:
    heads = RequestHeads(DEFAULT_LIMITS)
    for lines in blocks:
        for data in (request(*lines), request(*lines, start=b"GET /other HTTP/1.0")):
            assert read(heads, data) == anew(data)


def test_a_head_of_the_same_connection_is_the_first_to_be_compared_with() -> None:
    heads = RequestHeads(DEFAULT_LIMITS)
    last = parse_request(request(b"A: b"))
    head = heads.read(request(b"A: b", start=b"GET /next HTTP/1.1"), last)
    assert last is not None
    assert head is not None
    assert head.fields is last.fields
