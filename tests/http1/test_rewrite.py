from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgproxy.errors import ProxyError
from bgproxy.http1.framing import CHUNKED, request_body, response_body
from bgproxy.http1.head import RequestHead, ResponseHead, parse_request
from bgproxy.http1.rewrite import (
    Coding,
    request_head,
    response_head,
    with_host,
    without_field,
    without_secret,
)
from tests.http1.feeding import accepted_request, accepted_response, feed_request, feed_response, meaning

SEEN = b"X-Forwarded-For: 192.0.2.1\r\n"


def forwarded(data: bytes) -> bytes:
    head = accepted_request(data)
    return request_head(head, SEEN) + b"\r\n"


# --- requests --------------------------------------------------------------------------------------------


def test_a_request_is_forwarded_with_its_fields_as_they_were_and_who_sent_it() -> None:
    data = b"PUT /a?b HTTP/1.1\r\nhOST: A.b\r\nX:1\r\nContent-Length: 2\r\n\r\nhi"
    assert (
        forwarded(data) == b"PUT /a?b HTTP/1.1\r\nhOST: A.b\r\nX:1\r\nContent-Length: 2\r\n" + SEEN + b"\r\n"
    )


def test_what_a_client_claims_about_itself_does_not_go_on() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    assert forwarded(data) == b"GET / HTTP/1.1\r\nHost: a\r\n" + SEEN + b"\r\n"


def test_a_service_may_have_a_host_of_its_own() -> None:
    data = b"POST /host: HTTP/1.1\r\nX: Host: x\r\nhoST: a\r\n\r\nHost: body\r\n"
    assert with_host(data, b"b:81") == (
        b"POST /host: HTTP/1.1\r\nHost: b:81\r\nX: Host: x\r\n\r\nHost: body\r\n"
    )


def test_a_request_of_http_1_0_goes_on_as_http_1_1_with_an_empty_host() -> None:
    """RFC 9112 section 3.2."""
    assert forwarded(b"GET / HTTP/1.0\r\n\r\n") == b"GET / HTTP/1.1\r\nHost: \r\n" + SEEN + b"\r\n"
    keeps = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n"
    assert forwarded(keeps) == b"GET / HTTP/1.1\r\nHost: a\r\n" + SEEN + b"\r\n"


@pytest.mark.parametrize("host", [b"Host: other", b"hOST:other", b"Host: "])
def test_an_absolute_target_replaces_the_host(host: bytes) -> None:
    data = b"GET http://B:81/p HTTP/1.1\r\nX-Host: x\r\n" + host + b"\r\nX: Host: y\r\n\r\n"
    expected = b"GET /p HTTP/1.1\r\nHost: b:81\r\nX-Host: x\r\nX: Host: y\r\n" + SEEN + b"\r\n"
    assert forwarded(data) == expected


def test_an_upgrade_goes_on_with_a_connection_field_of_our_own() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade, X\r\nX: 1\r\nUpgrade: WebSocket\r\n\r\n"
    ours = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert forwarded(data) == b"GET / HTTP/1.1\r\nHost: a\r\n" + SEEN + ours + b"\r\n"


def test_http_1_0_cannot_ask_for_an_upgrade() -> None:
    data = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert forwarded(data) == b"GET / HTTP/1.1\r\nHost: a\r\n" + SEEN + b"\r\n"


def test_a_field_is_removed_by_its_whole_name_only() -> None:
    block = b"A: 1\r\nX-A: 2\r\na:3\r\nB: A: 4\r\n\r\n"
    assert without_field(block, b"a") == b"X-A: 2\r\nB: A: 4\r\n\r\n"
    assert without_field(block, b"c") == block


def test_a_secret_is_removed_from_the_head_and_never_from_the_body() -> None:
    body = b"x-preview: s\r\n\r\nx-preview: s\r\n"
    head = b"POST /x-preview: HTTP/1.1\r\nHost: a\r\nX-Preview: s\r\nx-preview: t\r\nX-Preview-Not: u\r\n\r\n"
    expected = b"POST /x-preview: HTTP/1.1\r\nHost: a\r\nX-Preview-Not: u\r\n\r\n" + body
    assert without_secret(head + body, b"x-preview") == expected


# --- responses -------------------------------------------------------------------------------------------


def rewritten(
    data: bytes, *, connection: bytes = b"", set_cookie: bytes = b"", coding: Coding = Coding.AS_IS
) -> bytes:
    head = accepted_response(data)
    return response_head(head, connection=connection, set_cookie=set_cookie, coding=coding)


def test_a_response_of_http_1_0_goes_on_as_http_1_1() -> None:
    data = b"HTTP/1.0 404 Nope\r\nConnection: keep-alive\r\nContent-Length: 2\r\nX: y\r\n\r\nhi"
    assert rewritten(data) == b"HTTP/1.1 404 Nope\r\nContent-Length: 2\r\nX: y\r\n\r\n"


def test_a_body_that_ends_with_the_connection_becomes_chunked() -> None:
    data = b"HTTP/1.1 200 OK\r\nConnection: close\r\nX: y\r\n\r\n"
    out = rewritten(data, coding=Coding.ADDED)
    assert out == b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert response_body(b"GET", 200, accepted_response(out).fields) == CHUNKED


def test_an_http_1_0_client_gets_no_chunks() -> None:
    data = b"HTTP/1.1 200 OK\r\nX: y\r\ntransfer-ENCODING:chunked\r\nZ: 1\r\n\r\n"
    out = rewritten(data, coding=Coding.REMOVED, connection=b"close")
    assert out == b"HTTP/1.1 200 OK\r\nX: y\r\nZ: 1\r\nConnection: close\r\n\r\n"


def test_a_cookie_is_added_to_those_of_the_upstream() -> None:
    data = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    out = rewritten(data, set_cookie=b"c=d; Path=/", connection=b"keep-alive")
    ours = b"Connection: keep-alive\r\nSet-Cookie: c=d; Path=/\r\n\r\n"
    assert out == b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n" + ours


def test_only_a_101_and_a_426_carry_an_upgrade() -> None:
    fields = b"Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
    out = rewritten(b"HTTP/1.1 101 Switching\r\n" + fields, connection=b"Upgrade")
    ours = b"Sec-WebSocket-Accept: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    assert out == b"HTTP/1.1 101 Switching\r\n" + ours
    assert rewritten(b"HTTP/1.1 400 No\r\n" + fields) == b"HTTP/1.1 400 No\r\nSec-WebSocket-Accept: x\r\n\r\n"


# --- whatever is forwarded re-parses to what was parsed ----------------------------------------------------

METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"g-e_t", b"HOST:", b""]
TARGETS = [
    b"/",
    b"/a?b=c",
    b"*",
    b"//b",
    b"http://b",
    b"HTTP://B:1/x?y",
    b"http://b?c",
    b"a:443",
    b"/#",
    b"https://",
]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 HTTP/1.1"]
STATUS_LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200",
    b"HTTP/1.1 101 Up",
    b"HTTP/1.1 204 ",
    b"HTTP/1.1 304 N",
    b"HTTP/1.1 700 N",
]
NAMES = [
    b"Host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Connection",
    b"Upgrade",
    b"TE",
    b"Keep-Alive",
    b"X-Forwarded-For",
]
NAMES += [b"X-Forwarded-Proto", b"Proxy-Connection", b"Expect", b"X", b"Trailer", b"X-Host", b"Set-Cookie"]
VALUES = [
    b"a",
    b"b:81",
    b"0",
    b"5",
    b"5, 5",
    b"+5",
    b"chunked",
    b"Chunked",
    b"gzip, chunked",
    b"identity",
    b"",
    b"upgrade",
]
VALUES += [
    b"close",
    b"keep-alive",
    b"host, content-length",
    b"transfer-encoding, x",
    b"X-Forwarded-For",
    b"websocket",
    b"h2c",
]
VALUES += [b"100-continue", b"trailers", b"10.0.0.1", b"\xff\tz", b"Host: evil"]
COLONS = [b": ", b":", b":\t", b" : ", b": \t "]
ENDS = [b"\r\n"] * 9 + [b"\n", b"\r", b"\r\n ", b"\r\r\n", b"\x00\r\n"]


def mostly(usual: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(st.sampled_from(usual), st.sampled_from(usual[:3]), st.sampled_from(usual[:1]))


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    swapped = draw(st.booleans())
    name = draw(st.sampled_from(NAMES))
    line = (name.swapcase() if swapped else name) + draw(mostly(COLONS)) + draw(st.sampled_from(VALUES))
    return line + draw(mostly(ENDS))


@st.composite
def request_lines(draw: st.DrawFn) -> bytes:
    return b" ".join((draw(mostly(METHODS)), draw(mostly(TARGETS)), draw(mostly(VERSIONS)))) + draw(
        mostly(ENDS)
    )


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Header lines and the empty line, for a request mostly with a Host."""
    block = draw(st.lists(lines(), max_size=6).map(b"".join))
    host = draw(st.sampled_from([b"Host: a\r\n", b"Host: a\r\n", b""]))
    return draw(st.sampled_from([host + block, block + host])) + draw(mostly(ENDS))


status_lines = st.builds(bytes.__add__, mostly(STATUS_LINES), mostly(ENDS))
requests = st.builds(bytes.__add__, request_lines(), blocks())
responses = st.builds(bytes.__add__, status_lines, blocks())


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message with one place overwritten."""
    data = draw(messages)
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 4)) :]


@settings(max_examples=300)
@given(st.one_of(requests, damaged(requests), st.binary(max_size=200)))
def test_any_bytes_are_refused_or_forwarded_as_the_request_that_was_read(data: bytes) -> None:
    head = feed_request(data)
    if not isinstance(head, RequestHead):
        return
    assert b"\n" not in data[: head.size].replace(b"\r\n", b"")
    out = request_head(head, SEEN) + b"\r\n"
    again = accepted_request(out)
    assert again.size == len(out)
    assert (again.method, again.target, again.host, again.minor) == (head.method, head.target, head.host, 1)
    assert request_body(again.fields) == request_body(head.fields)
    assert again.fields.upgrade == head.fields.upgrade
    assert again.fields.forwarded_for == b"192.0.2.1"
    assert not again.fields.close


@given(request_lines(), st.sampled_from([b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"]), blocks())
def test_a_memo_never_changes_what_a_request_means(line: bytes, line_before: bytes, block: bytes) -> None:
    before = feed_request(line_before + block)
    if isinstance(before, RequestHead):
        assert _read(line + block, before) == _read(line + block, None)


@settings(max_examples=300)
@given(st.one_of(responses, damaged(responses), st.binary(max_size=200)), st.sampled_from([b"GET", b"HEAD"]))
def test_any_bytes_are_refused_or_forwarded_as_the_response_that_was_read(data: bytes, method: bytes) -> None:
    head = feed_response(data)
    if not isinstance(head, ResponseHead):
        return
    out = response_head(head, connection=b"close")
    again = accepted_response(out)
    assert (again.status, again.size, again.fields.close) == (head.status, len(out), True)
    expected = response_body(method, head.status, head.fields)
    assert response_body(method, again.status, again.fields) == expected


# Private


def _read(data: bytes, memo: RequestHead | None) -> object:
    try:
        head = parse_request(data, memo)
    except ProxyError as error:
        return error.status
    return head and meaning(head)
