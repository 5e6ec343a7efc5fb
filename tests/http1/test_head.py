from __future__ import annotations

import pytest

from bgproxy.errors import ProxyError
from bgproxy.http1.head import ResponseHead, parse_request, parse_response, skip_empty_line
from tests.http1.feeding import (
    Refused,
    accepted_request,
    accepted_response,
    feed_request,
    feed_response,
    request,
    response,
)

# --- requests: the start line -----------------------------------------------------------------------


def test_a_request_is_read_as_it_was_sent() -> None:
    data = request(
        b"X-Some: Value ", b"content-LENGTH:  5\t", start=b"POST /a/b?c=d HTTP/1.1", host=b"HOST: A.b:80"
    )
    head = accepted_request(data)
    assert (head.method, head.target, head.minor, head.host) == (b"POST", b"/a/b?c=d", 1, b"a.b:80")
    assert (head.size, head.fields.content_length, head.fields.chunked) == (len(data), 5, False)
    assert head.fields.get(b"x-some") == b"Value"
    assert head.fields.get(b"x-other") is None
    assert head.fields.get(b"some") is None
    assert head.fields.forward is head.fields.raw


def test_a_request_without_any_field_is_read_as_http_1_0() -> None:
    head = accepted_request(b"GET /old HTTP/1.0\r\n\r\n")
    assert (head.minor, head.host, head.fields.host, head.size) == (0, b"", None, 21)


def test_a_later_minor_version_is_treated_as_http_1_1() -> None:
    """RFC 9110 section 2.5."""
    assert accepted_request(request(start=b"GET / HTTP/1.9")).minor == 1


@pytest.mark.parametrize(
    ("start", "host", "target", "meant"),
    [
        (b"GET http://B.c/p?q HTTP/1.1", b"Host: other", b"/p?q", b"b.c"),
        (b"GET HTTPS://b:81 HTTP/1.1", b"Host: other", b"/", b"b:81"),
        (b"GET http://b?q=/ HTTP/1.1", b"Host: other", b"/?q=/", b"b"),
        (b"GET http://[::1]:80/ HTTP/1.1", b"Host: other", b"/", b"[::1]:80"),
        (b"GET http://b/ HTTP/1.0", b"", b"/", b"b"),
        (b"OPTIONS * HTTP/1.1", b"Host: a", b"*", b"a"),
        (b"OPTIONS http://b:81 HTTP/1.1", b"Host: a", b"*", b"b:81"),
        (b"OPTIONS http://b/ HTTP/1.1", b"Host: a", b"/", b"b"),
        (b"GET //b/c HTTP/1.1", b"Host: a", b"//b/c", b"a"),
        (b"GET /http://b/ HTTP/1.1", b"Host: a", b"/http://b/", b"a"),
    ],
)
def test_a_target_has_one_origin_form_and_one_host(
    start: bytes, host: bytes, target: bytes, meant: bytes
) -> None:
    """RFC 9112 section 3.2: an absolute target overrules the Host field."""
    head = accepted_request(request(start=start, host=host))
    assert (head.target, head.host) == (target, meant)


def test_one_empty_line_before_a_request_is_ignored() -> None:
    """RFC 9112 section 2.2."""
    assert skip_empty_line(b"\r\nGET") == b"GET"
    assert skip_empty_line(b"\r\n\r\nGET") == b"\r\nGET"
    assert skip_empty_line(b"\nGET") == b"\nGET"
    assert feed_request(b"\r\n" + request()) == Refused(400)


@pytest.mark.parametrize(
    "start",
    [
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / a HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.",
        b"GET / HTTP/1",
        b"GET / HTTP/3",
        b"GET / HTTP/12.1",
        b"GET / HTTP/2.00",
        b"GET / HTTP/1.11",
        b"GET / HTTP/1.1\r",
        b"GET / HTTP 1.1",
        b"G(T / HTTP/1.1",
        b"G\x80T / HTTP/1.1",
        b"GET /\x80 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x0b HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET # HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET a HTTP/1.1",
        b"GET a:80 HTTP/1.1",
        b"GET ?q HTTP/1.1",
        b"GET http:/b HTTP/1.1",
        b"GET http:// HTTP/1.1",
        b"GET http:///p HTTP/1.1",
        b"GET http://u@b/ HTTP/1.1",
        b"GET http://b:x/ HTTP/1.1",
        b"GET http://b#f HTTP/1.1",
        b"GET http://b/#f HTTP/1.1",
        b"GET http://b\\c/ HTTP/1.1",
        b"GET ftp://b/ HTTP/1.1",
        b"OPTIONS ** HTTP/1.1",
    ],
)
def test_a_malformed_request_line_is_refused(start: bytes) -> None:
    assert feed_request(request(start=start)) == Refused(400)


@pytest.mark.parametrize("start", [b"CONNECT b:443 HTTP/1.1", b"CONNECT /p HTTP/1.1", b"CONNECT * HTTP/1.0"])
def test_connect_is_never_relayed(start: bytes) -> None:
    """A tunnel through a reverse proxy has no message that could be framed."""
    assert feed_request(request(start=start)) == Refused(501)


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/3.1", b"GET a HTTP/9.9"]
)
def test_another_version_is_refused_with_505(start: bytes) -> None:
    assert feed_request(request(start=start)) == Refused(505)


def test_the_preface_of_http_2_is_refused_with_505() -> None:
    assert feed_request(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == Refused(505)


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"\x00", b"GET /\x00"])
def test_what_is_not_http_is_refused_before_a_line_has_ended(data: bytes) -> None:
    assert feed_request(data) == Refused(400)


# --- requests: Host -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a:", b"a:80", b"a.b.:80", b"[::1]", b"[::ffff:1.2.3.4]:80", b"a_b-c~"]
)
def test_a_valid_host_is_accepted(host: bytes) -> None:
    assert accepted_request(request(host=b"Host: " + host)).host == host


@pytest.mark.parametrize(
    "host",
    [
        b"a b",
        b"a, b",
        b"a/b",
        b"a:b",
        b"a:1:2",
        b"a:123456",
        b"a@b",
        b"a\\b",
        b"a?b",
        b"a#b",
        b"a\x80",
        b"[::1",
        b"[]",
        b"[g::]",
        b"[::1]a",
        b"::1",
        b"<a>",
        b"a%41",
        b"%00",
        b'"a"',
        b"a\tb",
    ],
)
def test_a_malformed_host_is_refused(host: bytes) -> None:
    assert feed_request(request(host=b"Host: " + host)) == Refused(400)


@pytest.mark.parametrize("second", [b"Host: a", b"Host: b", b"HOST:", b"host: a"])
def test_two_hosts_are_refused_even_if_they_are_equal(second: bytes) -> None:
    assert feed_request(request(second)) == Refused(400)
    assert feed_request(request(second, start=b"GET / HTTP/1.0")) == Refused(400)
    assert feed_request(request(second, start=b"GET http://a/ HTTP/1.1")) == Refused(400)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1", b"GET http://a/ HTTP/1.1", b"OPTIONS * HTTP/1.1"])
def test_http_1_1_needs_a_host_whatever_the_target_says(start: bytes) -> None:
    assert feed_request(request(start=start, host=b"")) == Refused(400)


# --- requests: header lines --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"X : a",
        b"X\t: a",
        b" X: a",
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b"X",
        b": a",
        b"X Y: a",
        b"X@: a",
        b"X\x80: a",
        b"X\x00: a",
        b"X: a\x00b",
        b"X: a\x0bb",
        b"X: a\x7f",
        b"X: a\rb",
        b"X: a\r\rb",
        b"X: a\r",
        b"\rX: a",
        b"X: a\nY: b",
        b"X: a\n",
        b"X: a\nContent-Length: 5",
        b"X: a\rTransfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\x0b: chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding:\x0cchunked",
        b"Transfer-Encoding: chunked\x00",
        b"Transfer-Encoding:\r chunked",
        b"Transfer-Encoding\r: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Content-Length : 5",
        b"Content\tLength: 5",
    ],
)
def test_a_malformed_header_line_is_refused(line: bytes) -> None:
    assert feed_request(request(line)) == Refused(400)
    assert feed_request(request(b"Y: b", line, b"Z: c")) == Refused(400)
    assert feed_response(response(line)) == Refused(502)


def test_a_head_that_ends_with_bare_newlines_is_refused() -> None:
    assert feed_request(b"GET / HTTP/1.1\nHost: a\n\n") == Refused(400)
    assert feed_request(b"GET / HTTP/1.1\r\nHost: a\r\n\n") == Refused(400)
    assert feed_request(b"GET / HTTP/1.1\r\nHost: a\n\r\n") == Refused(400)


@pytest.mark.parametrize("value", [b"", b"\xe9", b"a\tb", b"!#;,=\"'<>{}()", b"a:b"])
def test_any_valid_value_is_forwarded_untouched(value: bytes) -> None:
    assert b"\r\nX:" + value + b"\r\n" in b"\r\n" + accepted_request(request(b"X:" + value)).fields.forward


# --- requests: framing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [b"+5", b"-5", b"0x5", b"5 5", b"5,5", b"5, 5", b"", b"5;", b"5.0", b"1e3", b"five"]
)
def test_a_content_length_that_is_not_one_plain_number_is_refused(value: bytes) -> None:
    assert feed_request(request(b"Content-Length: " + value)) == Refused(400)
    assert feed_response(response(b"Content-Length: " + value)) == Refused(502)


@pytest.mark.parametrize("value", [b"9" * 19, b"18446744073709551621", b"0" * 30 + b"5", b"\xb2"])
def test_a_content_length_that_another_parser_may_wrap_is_refused(value: bytes) -> None:
    assert feed_request(request(b"Content-Length: " + value)) == Refused(400)


@pytest.mark.parametrize(
    "second", [b"Content-Length: 5", b"Content-Length: 6", b"content-length:5", b"CONTENT-LENGTH: x"]
)
def test_two_content_lengths_are_refused_even_if_they_are_equal(second: bytes) -> None:
    assert feed_request(request(b"Content-Length: 5", b"X: y", second)) == Refused(400)
    assert feed_response(response(b"Content-Length: 5", b"X: y", second)) == Refused(502)


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED ", b"\tchunked\t"])
def test_chunked_is_recognized_in_any_case(value: bytes) -> None:
    assert accepted_request(request(b"Transfer-Encoding:" + value)).fields.chunked
    assert accepted_response(response(b"Transfer-Encoding:" + value)).fields.chunked


@pytest.mark.parametrize("value", [b"chunked\t", b" chunked ", b"\tChunked \t "])
def test_a_coding_with_space_behind_it_is_forwarded_without(value: bytes) -> None:
    """Found by fuzzing: to llhttp, a response whose coding ends with a tab is not chunked."""
    lines = b"A: b", b"Transfer-Encoding:" + value, b"C: d"
    forward = b"A: b\r\nC: d\r\nTransfer-Encoding: chunked\r\n"
    assert accepted_request(request(*lines, host=b"Host:")).fields.forward == b"Host:\r\n" + forward
    assert accepted_response(response(*lines)).fields.forward == forward
    assert accepted_response(response(*lines, start=b"HTTP/1.1 204 N")).fields.forward == b"A: b\r\nC: d\r\n"


@pytest.mark.parametrize(
    "value",
    [
        b"gzip",
        b"gzip, chunked",
        b"chunked, gzip",
        b"chunked, chunked",
        b"chunked,",
        b",chunked",
        b"identity",
        b"",
        b"xchunked",
        b"chunkedx",
        b"chunked;q=1",
        b'"chunked"',
        b"'chunked'",
        b"chun ked",
        b"\x85chunked",
        b"chunked, identity",
        b"chunked chunked",
        b"chunked\xa0",
    ],
)
def test_any_other_transfer_coding_is_refused(value: bytes) -> None:
    """RFC 9112 section 6.1: 501 for a coding that is not understood."""
    assert feed_request(request(b"Transfer-Encoding: " + value)) == Refused(501)
    assert feed_response(response(b"Transfer-Encoding: " + value)) == Refused(502)


@pytest.mark.parametrize("second", [b"chunked", b"identity", b"gzip", b""])
def test_two_transfer_encodings_are_refused(second: bytes) -> None:
    lines = b"Transfer-Encoding: chunked", b"transfer-encoding: " + second
    assert feed_request(request(*lines)) == Refused(400)
    assert feed_response(response(*lines)) == Refused(502)


def test_transfer_encoding_with_content_length_is_refused_in_either_order() -> None:
    """RFC 9112 section 6.1 allows it, section 11.2 says why one should not."""
    coding, length = b"Transfer-Encoding: chunked", b"Content-Length: 5"
    for lines in ((coding, length), (length, coding), (coding, b"Content-Length: 0")):
        assert feed_request(request(*lines)) == Refused(400)
        assert feed_response(response(*lines)) == Refused(502)


def test_a_chunked_message_of_http_1_0_is_refused() -> None:
    """RFC 9112 section 6.1: its framing is faulty, whoever sent it."""
    assert feed_request(request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0")) == Refused(400)
    assert feed_response(response(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK")) == Refused(502)


def test_a_memo_of_http_1_1_does_not_excuse_a_chunked_request_of_http_1_0() -> None:
    memo = accepted_request(request(b"Transfer-Encoding: chunked"))
    with pytest.raises(ProxyError) as refusal:
        parse_request(request(b"Transfer-Encoding: chunked", start=b"GET / HTTP/1.0"), memo)
    assert refusal.value.status == 400


@pytest.mark.parametrize("data", [b"\r\n", b"S", b"HTTP/2", b"SSH-2.0-OpenSSH", b"HTTP/1-"])
def test_what_is_not_http_from_an_upstream_is_refused_before_a_line_has_ended(data: bytes) -> None:
    assert feed_response(data) == Refused(502)


def test_a_later_minor_version_of_a_response_is_sent_on_as_our_own() -> None:
    head = accepted_response(response(b"Content-Length: 0", start=b"HTTP/1.2 200 OK"))
    assert head.length == 0
    assert head.plain == response(b"Content-Length: 0")


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 100 Go on", b"HTTP/1.1 103 E", b"HTTP/1.1 199 x", b"HTTP/1.1 204 N"]
)
@pytest.mark.parametrize("line", [b"Content-Length: 5", b"content-LENGTH:0", b"Transfer-Encoding: chunked"])
def test_a_response_that_has_no_body_does_not_announce_one(start: bytes, line: bytes) -> None:
    """RFC 9110 section 8.6, RFC 9112 section 6.1; llhttp waits for the body of a 199."""
    with_body = accepted_response(response(b"A: b", line, b"C: d"))
    head = parse_response(response(b"A: b", line, b"C: d", start=start), with_body)
    assert head is not None
    assert head.fields.forward == b"A: b\r\nC: d\r\n"
    assert head.length == -1
    again = parse_response(response(b"A: b", line, b"C: d"), head)
    assert again is not None
    assert again.fields.forward == b"A: b\r\n" + line + b"\r\nC: d\r\n"


def test_a_304_keeps_the_length_of_what_is_not_sent() -> None:
    """RFC 9110 section 8.6."""
    head = accepted_response(response(b"Content-Length: 5", start=b"HTTP/1.1 304 Not Modified"))
    assert head.fields.forward == b"Content-Length: 5\r\n"


def test_a_memo_without_host_does_not_excuse_a_request_of_http_1_1() -> None:
    memo = accepted_request(request(b"A: b", start=b"GET / HTTP/1.0", host=b""))
    with pytest.raises(ProxyError) as refusal:
        parse_request(request(b"A: b", host=b""), memo)
    assert refusal.value.status == 400


def test_an_equal_block_is_not_parsed_again() -> None:
    memo = accepted_request(request(b"A: b"))
    again = parse_request(request(b"A: b", start=b"PUT /other HTTP/1.1"), memo)
    assert again is not None
    assert again.fields is memo.fields
    assert again.target == b"/other"


# --- responses -----------------------------------------------------------------------------------------


def test_a_response_is_read_as_it_was_sent() -> None:
    data = response(b"Content-Length: 3", b"X: y", start=b"HTTP/1.1 404 Not \xfcber")
    head = accepted_response(data)
    assert (head.status, head.minor, head.size) == (404, 1, len(data))
    assert head.line == b" 404 Not \xfcber\r\n"
    assert head.fields.content_length == 3
    assert head.fields.forward is head.fields.raw


@pytest.mark.parametrize(
    ("start", "status", "minor"),
    [
        (b"HTTP/1.1 200", 200, 1),
        (b"HTTP/1.1 599 ", 599, 1),
        (b"HTTP/1.0 100 Go on", 100, 0),
        (b"HTTP/1.2 200 OK", 200, 1),
        (b"HTTP/1.9 200 OK", 200, 1),
    ],
)
def test_a_reason_phrase_is_optional(start: bytes, status: int, minor: int) -> None:
    head = accepted_response(response(start=start))
    assert (head.status, head.minor) == (status, minor)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 600 x",
        b"HTTP/1.1 999 x",
        b"HTTP/1.1  200",
        b"HTTP/1.1 +20",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1. 200 OK",
        b"HTTP/1.10 200 OK",
        b"HTTP/2 200",
        b"HTTP/2.0 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b" HTTP/1.1 200 OK",
        b"",
    ],
)
def test_a_malformed_status_line_is_refused_with_502(start: bytes) -> None:
    assert feed_response(response(start=start)) == Refused(502)


def test_a_response_with_bare_newlines_is_refused() -> None:
    assert feed_response(b"HTTP/1.1 200 OK\nA: b\n\n") == Refused(502)
    assert feed_response(b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n") == Refused(502)


def test_a_refused_response_is_the_fault_of_the_upstream() -> None:
    for data in (b"nonsense\r\n\r\n", response(b"Content-Length: x"), response(b"A : b")):
        with pytest.raises(ProxyError) as refusal:
            parse_response(data)
        assert refusal.value.status == 502


def test_an_equal_response_block_is_not_parsed_again() -> None:
    memo = accepted_response(response(b"A: b"))
    again = parse_response(response(b"A: b", start=b"HTTP/1.0 500 No"), memo)
    assert isinstance(again, ResponseHead)
    assert again.fields is memo.fields
    assert (again.status, again.minor) == (500, 0)


def test_the_same_head_again_is_the_same_value() -> None:
    memo = accepted_request(request(b"A: b"))
    assert parse_request(request(b"A: b") + b"body", memo) is memo
    answer = accepted_response(response(b"A: b"))
    assert parse_response(response(b"A: b") + b"body", answer) is answer
