from __future__ import annotations

import pytest

from bgproxy.http1.forwarding import Client, forwarded_element, identity, lines, request_id_of, usual_lines
from bgproxy.model import Forwarding
from tests.http1.feeding import accepted_request

CLIENT = Client(b"192.0.2.1", b"https", b"443", trusted=False)


def told(*fields: bytes, client: Client) -> list[bytes]:
    head = accepted_request(b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *fields, b"", b""]))
    return lines(head.fields, head.host, head.minor, client, Forwarding()).split(b"\r\n")[:-1]


def test_every_line_ends_as_a_line_of_a_head() -> None:
    head = accepted_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    silent = Forwarding(x_forwarded=False, via=False, request_id=False)
    assert lines(head.fields, head.host, 1, CLIENT, silent) == b""
    assert lines(head.fields, head.host, 1, CLIENT, Forwarding(x_forwarded=False)) == b"Via: 1.1 bgproxy\r\n"


def test_a_proxy_that_is_trusted_is_believed_in_part_if_it_says_a_part() -> None:
    client = CLIENT._replace(trusted=True)
    assert told(b"X-Forwarded-Proto: http", client=client) == [
        b"X-Forwarded-For: 192.0.2.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: a",
        b"X-Forwarded-Port: 443",
        b"Via: 1.1 bgproxy",
    ]


@pytest.mark.parametrize(
    ("peer", "node"),
    [(b"192.0.2.1", b"192.0.2.1"), (b"2001:db8::1", b'"[2001:db8::1]"'), (b"unix:", b'"_unix"')],
)
def test_forwarded_names_a_client_as_rfc_7239_wants(peer: bytes, node: bytes) -> None:
    element = forwarded_element(CLIENT._replace(peer=peer), b"a:81")
    assert element == b"for=" + node + b';proto=https;host="a:81"'
    assert forwarded_element(CLIENT._replace(peer=peer), b"") == b"for=" + node + b";proto=https"


def test_an_identity_ends_a_head_and_is_never_the_same() -> None:
    fields = accepted_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").fields
    make = identity(Forwarding(), fields)
    assert make is not None
    tails = {make() for _ in range(1000)}
    assert len(tails) == 1000
    assert all(tail.endswith(b"\r\n\r\n") and tail.count(b"\r\n") == 2 for tail in tails)
    assert all(len(request_id_of(fields, tail)) == 32 for tail in tails)
    assert identity(Forwarding(request_id=False), fields) is None


@pytest.mark.parametrize("port", [b"8080", b""])
@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("peer", [b"192.0.2.1", b"2001:db8::1", b"unix:"])
@pytest.mark.parametrize("settings", [Forwarding(), Forwarding(via=False, request_id=False)])
def test_what_is_told_of_a_client_that_claims_nothing_is_made_in_advance(
    port: bytes, peer: bytes, settings: Forwarding, *, trusted: bool
) -> None:
    head = accepted_request(b"GET / HTTP/1.1\r\nHost: a:81\r\n\r\n")
    usual = usual_lines(b"https", port, settings)
    assert usual is not None
    assert not head.fields.claims
    client = Client(peer, b"https", port, trusted=trusted)
    assert usual % (peer, head.host) == lines(head.fields, head.host, 1, client, settings)


@pytest.mark.parametrize("settings", [Forwarding(forwarded=True), Forwarding(x_forwarded=False)])
def test_what_takes_more_is_not_made_in_advance(settings: Forwarding) -> None:
    assert usual_lines(b"http", b"80", settings) is None
