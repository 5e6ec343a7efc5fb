from __future__ import annotations

import pytest

from tests.http1.feeding import (
    Refused,
    accepted_request,
    accepted_response,
    feed_request,
    request,
    response,
)

# --- Connection, Expect, Upgrade ------------------------------------------------------------------------


def test_expect_100_continue_is_forwarded() -> None:
    fields = accepted_request(request(b"Expect: 100-Continue")).fields
    assert b"Expect: 100-Continue\r\n" in fields.forward


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b""])
def test_any_other_expectation_is_refused(value: bytes) -> None:
    assert feed_request(request(b"Expect: " + value)) == Refused(417)


def test_connection_options_are_read_from_every_connection_field() -> None:
    fields = accepted_request(request(b"Connection: X-A , CLOSE", b"Connection:Keep-Alive")).fields
    assert (fields.close, fields.keep_alive) == (True, True)
    fields = accepted_response(response(b"Connection: closed", b"X: close")).fields
    assert (fields.close, fields.keep_alive) == (False, False)


@pytest.mark.parametrize("place", range(5))
def test_hop_by_hop_and_nominated_fields_are_not_forwarded(place: int) -> None:
    """RFC 9110 section 7.6.1, wherever in the block they stand."""
    stays = [b"Host: a", b"A: 1", b"X-Onee: 2", b"B: 3"]
    goes = [b"Connection: X-One, x-two", b"Keep-Alive: 5", b"x-ONE: 4", b"Proxy-Connection: close"]
    goes += [b"Connection: TE", b"X-Two:5", b"Upgrade: a", b"TE: trailers", b"X-Two: 6"]
    mixed = stays[:place] + goes + stays[place:]
    forward = b"\r\n".join(stays) + b"\r\n"
    assert accepted_request(request(*mixed, host=b"")).fields.forward == forward
    assert accepted_response(response(*mixed)).fields.forward == forward


def test_alternating_hop_by_hop_fields_leave_the_others_in_order() -> None:
    lines = (b"Connection: p", b"A: 1", b"Keep-Alive: x", b"P: 0", b"B: 2", b"TE: x", b"C: 3")
    assert accepted_request(request(*lines)).fields.forward == b"Host: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n"
    lines = (b"A: 1", b"Connection: p", b"B: 2", b"P: 0", b"Keep-Alive: x", b"C: 3", b"Upgrade: x")
    assert accepted_response(response(*lines)).fields.forward == b"A: 1\r\nB: 2\r\nC: 3\r\n"


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_what_frames_a_message_cannot_be_nominated_away(line: bytes) -> None:
    nominates = b"Connection: close, Host, Content-Length, Transfer-Encoding, X-Forwarded-For"
    fields = accepted_request(request(line, nominates, b"X-Forwarded-For: 10.0.0.9")).fields
    assert fields.forward == b"Host: a\r\n" + line + b"\r\n"
    assert fields.forwarded_for == b"10.0.0.9"
    assert accepted_response(response(line, nominates)).fields.forward == line + b"\r\n"


@pytest.mark.parametrize("line", [b"Expect: 100-continue", b"Via: 1.1 a"])
def test_what_those_who_pass_a_message_on_must_know_cannot_be_nominated_away(line: bytes) -> None:
    fields = accepted_request(request(line, b"Connection: expect, VIA")).fields
    assert fields.forward == b"Host: a\r\n" + line + b"\r\n"


def test_an_upgrade_counts_only_if_connection_nominates_it() -> None:
    asks = b"Connection: Upgrade", b"Upgrade: WebSocket"
    assert accepted_request(request(*asks)).fields.upgrade == b"websocket"
    assert accepted_response(response(*asks, start=b"HTTP/1.1 101 S")).fields.upgrade == b"websocket"
    assert accepted_request(request(b"Upgrade: websocket")).fields.upgrade is None
    assert accepted_request(request(b"Connection: upgrade")).fields.upgrade is None
    assert accepted_request(request(b"Connection: upgrade", b"Upgrade:")).fields.upgrade is None


@pytest.mark.parametrize("value", [b"h2c", b"H2C", b"websocket, h2c", b"h2c, websocket"])
def test_http_2_cannot_be_reached_through_an_upgrade(value: bytes) -> None:
    fields = accepted_request(
        request(b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: A", b"Upgrade: " + value)
    ).fields
    assert fields.upgrade is None
    assert fields.forward == b"Host: a\r\n"


@pytest.mark.parametrize("body", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_an_upgrade_with_a_body_is_ignored(body: bytes) -> None:
    """RFC 9110 section 7.8 allows it, and llhttp takes the body for the other protocol."""
    asks = b"Connection: Upgrade", b"Upgrade: websocket"
    fields = accepted_request(request(*asks, body)).fields
    assert fields.upgrade is None
    assert fields.forward == b"Host: a\r\n" + body + b"\r\n"
    assert accepted_request(request(*asks, b"Content-Length: 0")).fields.upgrade == b"websocket"


def test_two_upgrade_fields_are_one_list() -> None:
    fields = accepted_request(request(b"Connection: Upgrade", b"Upgrade: a", b"Upgrade: h2c")).fields
    assert fields.upgrade is None
    fields = accepted_request(request(b"Connection: Upgrade", b"Upgrade: a", b"Upgrade: B/1")).fields
    assert fields.upgrade == b"a, b/1"


# --- what a client claims about itself -----------------------------------------------------------------

CLAIMS = [
    (b"X-Forwarded-For", "forwarded_for"),
    (b"x-forwarded-proto", "forwarded_proto"),
    (b"X-FORWARDED-HOST", "forwarded_host"),
    (b"X-Forwarded-Port", "forwarded_port"),
    (b"Forwarded", "forwarded"),
    (b"X-Request-Id", "request_id"),
]


@pytest.mark.parametrize(("name", "attribute"), CLAIMS)
def test_a_claim_is_kept_as_it_was_sent_and_not_forwarded(name: bytes, attribute: str) -> None:
    fields = accepted_request(request(b"A: b", name + b":\tFor=_X; y \t", b"C: d")).fields
    assert getattr(fields, attribute) == b"For=_X; y"
    assert fields.forward == b"Host: a\r\nA: b\r\nC: d\r\n"


@pytest.mark.parametrize(("name", "attribute"), CLAIMS)
def test_several_claims_of_one_kind_are_joined_in_order(name: bytes, attribute: str) -> None:
    fields = accepted_request(request(name + b": 1", b"A: b", name.swapcase() + b":2, 3", name + b":")).fields
    assert getattr(fields, attribute) == b"1, 2, 3, "
    assert fields.forward == b"Host: a\r\nA: b\r\n"


@pytest.mark.parametrize(("name", "attribute"), CLAIMS)
def test_who_claims_nothing_has_claimed_nothing(name: bytes, attribute: str) -> None:
    fields = accepted_request(request(b"Not-" + name + b": 1", name + b"s: 2")).fields
    assert getattr(fields, attribute) is None
    assert fields.forward is fields.raw


@pytest.mark.parametrize(("name", "attribute"), [(b"Via", "via"), (b"traceparent", "traceparent")])
def test_what_is_added_to_is_kept_and_forwarded(name: bytes, attribute: str) -> None:
    line = name + b": 1.1 A"
    fields = accepted_request(request(line, b"X-Request-Id: 1")).fields
    assert getattr(fields, attribute) == b"1.1 A"
    assert fields.forward == b"Host: a\r\n" + line + b"\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"X_Forwarded_For",
        b"X-Forwarded_For",
        b"x_forwarded-proto",
        b"X_FORWARDED_HOST",
        b"X_Forwarded_Port",
        b"X_Request_Id",
        b"X-Request_ID",
        b"Content_Length",
        b"Transfer_Encoding",
    ],
)
def test_an_underscore_does_not_get_a_control_field_past_us(name: bytes) -> None:
    """To CGI and WSGI it is the field with a dash."""
    fields = accepted_request(request(name + b": 5", b"X_Y: 1")).fields
    assert fields.forward == b"Host: a\r\nX_Y: 1\r\n"
    assert (fields.content_length, fields.forwarded_for, fields.request_id) == (None, None, None)
    assert not fields.chunked
    # Of an upstream it is a field like any other.
    assert accepted_response(response(name + b": 5")).fields.forward == name + b": 5\r\n"


# --- responses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5),
        (b"timeout=5, max=100", 5),
        (b"max=100,Timeout=65", 65),
        (b"max=1; timeout=0", 0),
        (b"", None),
        (b"5", None),
        (b"timeout", None),
        (b"timeout=", None),
        (b"timeout=x", None),
        (b"timeout=-1", None),
        (b"timeout=5x", None),
        (b"notimeout=5", None),
        (b"timeout=" + b"9" * 10, None),
    ],
)
def test_an_upstream_says_for_how_long_it_keeps_a_connection(value: bytes, seconds: int | None) -> None:
    fields = accepted_response(response(b"Keep-Alive: " + value)).fields
    assert fields.keep_alive_s == seconds
    assert fields.forward == b""


def test_a_response_without_a_hint_has_none() -> None:
    assert accepted_response(response()).fields.keep_alive_s is None
    assert accepted_request(request(b"Keep-Alive: timeout=5")).fields.keep_alive_s is None
