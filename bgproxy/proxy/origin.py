"""What a listener knows about all of its connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from bgproxy.http1.forwarding import Identity, identity, usual_lines
from bgproxy.http1.remembered import RequestHeads
from bgproxy.model import Forwarding, Listener

_REMEMBERED_PEERS: Final = 4096  # whether they are trusted; further ones are looked at again

Trusts = Callable[[bytes], bool]


@dataclass(slots=True)
class Origin:
    """`trusts` tells whether what a peer (an address as text) says about its client is believed.

    `told` and `identity` are what upstreams are told of a request that says nothing of that kind itself, see
    `forwarding.usual_lines`.
    """

    settings: Listener
    scheme: bytes
    port: int  # where it really listens; 0: on a unix socket
    trusts: Trusts
    heads: RequestHeads
    told: bytes | None
    identity: Identity | None

    @classmethod
    def of(cls, settings: Listener, port: int) -> Origin:
        scheme = b"http" if settings.tls is None else b"https"
        forwarding = settings.forwarding
        return cls(
            settings,
            scheme,
            port,
            trust_in(forwarding),
            RequestHeads(settings.head),
            usual_lines(scheme, b"%d" % port if port else b"", forwarding),
            identity(forwarding),
        )


def trust_in(forwarding: Forwarding) -> Trusts:
    """A peer without an IP address is one on a unix socket."""
    if not forwarding.trusted:
        return _nobody
    unix = "unix" in forwarding.trusted
    networks = [ip_network(each) for each in forwarding.trusted if each != "unix"]

    @lru_cache(maxsize=_REMEMBERED_PEERS)
    def trusts(peer: bytes) -> bool:
        try:
            address = ip_address(peer.decode("latin-1"))
        except ValueError:
            return unix
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in networks)

    return trusts


# Private


def _nobody(peer: bytes) -> bool:  # noqa: ARG001 - whoever it is
    return False
