from __future__ import annotations

import pytest

from bgproxy.model import Forwarding, Listener, ListenerTls
from bgproxy.proxy.origin import Origin, trust_in

NETWORKS = ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32")


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (b"10.255.0.1", True),
        (b"11.0.0.1", False),
        (b"192.0.2.7", True),
        (b"192.0.2.8", False),
        (b"2001:db8::1", True),
        (b"2001:db9::1", False),
        (b"::ffff:10.0.0.1", True),
        (b"::ffff:11.0.0.1", False),
        (b"fe80::1%eth0", False),
        (b"unix:", False),
    ],
)
def test_a_peer_is_trusted_if_its_address_is_in_one_of_the_networks(peer: bytes, *, trusted: bool) -> None:
    trusts = trust_in(Forwarding(trusted=NETWORKS))
    assert [trusts(peer), trusts(peer)] == [trusted, trusted]


@pytest.mark.parametrize("peer", [b"10.0.0.1", b"unix:", b"::1"])
def test_nobody_is_trusted_by_default(peer: bytes) -> None:
    assert not trust_in(Forwarding())(peer)


def test_peers_on_a_unix_socket_are_trusted_by_name() -> None:
    trusts = trust_in(Forwarding(trusted=("unix",)))
    assert trusts(b"unix:")
    assert not trusts(b"127.0.0.1")


def test_the_scheme_is_that_of_the_listener() -> None:
    plain = Listener("public", "0.0.0.0:80")
    secure = Listener("secure", "0.0.0.0:443", tls=ListenerTls(()))
    assert [Origin.of(each, 80).scheme for each in (plain, secure)] == [b"http", b"https"]
