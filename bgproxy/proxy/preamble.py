"""What a connection goes through before its first byte of HTTP, or of whatever it carries.

In this order: a place among those that its listener may have, the PROXY header, TLS. Then the connection's
own protocol has it, and gets what was read beyond the header. A listener without any of it never comes here.
Never answers anybody: who is turned away is told so by that protocol, in its own language, or by TLS in an alert.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

from bgproxy.errors import ProxyError
from bgproxy.model import Protocol
from bgproxy.proxy import limits
from bgproxy.proxy.proxy_protocol import UNIX, Address, Header, parse
from bgproxy.proxy.secured import Secured
from bgproxy.shared_memory.counters import ACCEPTED, CONNECTIONS
from bgproxy.tls.pem import explain

if TYPE_CHECKING:
    from bgproxy.proxy.client import ClientConnection
    from bgproxy.proxy.dataplane import DataPlane
    from bgproxy.proxy.origin import Origin
    from bgproxy.shared_memory.clients import Limit, Ticket
    from bgproxy.tls.server import ServerContexts

logger = logging.getLogger("bgproxy.worker")

# For a TLS handshake, however patient the services are.
LONGEST_HANDSHAKE_S: Final = 60.0


@dataclass(slots=True)
class Entrance:
    """What the connections of one listener go through. `accept` makes the protocol of one that has."""

    plane: DataPlane
    origin: Origin
    accept: Callable[[Ticket | None], ClientConnection]
    limit: Limit | None
    contexts: ServerContexts | None
    _quiet_until: dict[str, float] = field(default_factory=dict)
    _unsaid: dict[str, int] = field(default_factory=dict)

    def complain(self, kind: str, message: str) -> None:
        """Tells the operator what connections come to nothing of; of each kind not more often than it helps."""
        now = self.plane.now
        if now < self._quiet_until.get(kind, -inf):
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._quiet_until[kind] = now + limits.FULL_SAID_S
        unsaid = self._unsaid.pop(kind, 0)
        more = f" ({unsaid} more like it before)" if unsaid else ""
        logger.warning("listener %s: %s%s", self.origin.settings.name, message, more)


class Preamble(asyncio.Protocol):
    """One of the plane's downstreams until its connection has another protocol."""

    __slots__ = (
        "_awaits_header",
        "_data",
        "_entrance",
        "_header",
        "_over",
        "_peer",
        "_refusal",
        "_shakes_hands",
        "_ticket",
        "deadline",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._peer: Address = (UNIX, 0)
        self._awaits_header = entrance.origin.settings.proxy_protocol
        self._header = Header()
        self._data = b""  # of the PROXY header, or read before TLS began
        self._ticket: Ticket | None = None
        self._refusal: ProxyError | None = None
        self._shakes_hands = False
        self._over = False
        self.deadline = inf

    # What the plane does with its downstreams

    def expired(self) -> None:
        self.deadline = inf
        if self._awaits_header:
            self._entrance.complain(
                "proxy", f"no whole PROXY header came from {self._describe_peer()} in time; closed"
            )
        self.transport.abort()

    def is_idle(self) -> bool:
        return not self._shakes_hands and not self._data

    def reset(self) -> None:
        self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        entrance = self._entrance
        plane = entrance.plane
        plane.downstreams.add(self)
        plane.cells[CONNECTIONS] = len(plane.downstreams)
        self.deadline = plane.now + plane.request_head_s
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            self._peer = (peername[0].encode(), peername[1])
        elif entrance.origin.port:
            self.transport.abort()  # it has gone before it was accepted
            return
        if len(plane.downstreams) > plane.max_connections and (
            self._awaits_header or entrance.contexts is not None
        ):
            plane.say_full()
            self.transport.close()  # who has to wait for its answer takes what there is not enough of
            return
        if entrance.limit is not None and not self._enter(entrance.limit):
            return
        if not self._awaits_header and self._enter_as(self._peer[0]):
            self._secure()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._awaits_header:
            self._read_header()
        else:
            self._secure()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self._leave()

    # What TLS tells

    def secured(self, transport: Secured) -> None:
        self._hand_over(cast("asyncio.Transport", transport))

    def refused(self, error: ssl.SSLError, *, told: bool) -> None:
        """A close right behind the alert would take it back, if there is more to read."""
        plane = self._entrance.plane
        self._entrance.complain("tls", f"no TLS with {self._describe_peer()}: {explain(error)}")
        if told:
            self.deadline = min(self.deadline, plane.now + limits.LINGER_S)
            self.transport.write_eof()
        else:
            self.transport.abort()

    # Private

    def _read_header(self) -> None:
        try:
            header, size = parse(self._data)
        except ValueError as error:
            self._entrance.complain("proxy", f"a connection from {self._describe_peer()} was closed: {error}")
            self.transport.abort()
            return
        if header is None:
            return
        self._awaits_header = False
        self._header, self._data = header, self._data[size:]
        source = header.source or self._peer
        if self._enter_as(source[0]):
            self._secure()

    def _enter(self, limit: Limit) -> bool:
        """Counts the connection for its listener. False if it is over."""
        self._ticket = limit.enter()
        if self._ticket is not None:
            return True
        name = self._entrance.origin.settings.name
        return self._turn_away(
            "connections",
            "this listener has too many connections; try again later",
            f"clients are turned away: it has the {limit.connections} connections that "
            f"`limits.connections` of listener {name} allows; raise it if there is memory for more",
        )

    def _enter_as(self, client: bytes) -> bool:
        """Counts the connection for its client. False if it is over."""
        limit, ticket = self._entrance.limit, self._ticket
        if limit is None or ticket is None or limit.enter_as(ticket, client):
            return True
        ticket.give_back()
        self._ticket = None
        return self._turn_away(
            "clients",
            "there are too many connections from this address",
            f"client {client.decode()} is turned away: it has the {limit.per_client} connections that "
            "`limits.connections_per_client` allows; raise it if many people share such an address",
        )

    def _turn_away(self, kind: str, reason: str, message: str) -> bool:
        """False if the connection is over; HTTP goes on, to the answer that says why."""
        self._entrance.complain(kind, message)
        if self._entrance.origin.settings.protocol is Protocol.TCP:
            self.transport.close()
            return False
        self._refusal = ProxyError(503, reason)
        return True

    def _secure(self) -> None:
        """TLS, if there is any, as soon as the client begins it: who says nothing costs next to nothing."""
        entrance = self._entrance
        if entrance.contexts is None:
            self._hand_over(self.transport)
        elif self._data[:1].isupper() and entrance.origin.settings.protocol is Protocol.HTTP:
            # No record of TLS begins with a letter; every method does.
            self._refusal = ProxyError(
                400, "this is a plain HTTP request, and this port speaks TLS: use https://"
            )
            self._hand_over(self.transport)
        elif self._data:
            plane = entrance.plane
            self.deadline = plane.now + min(plane.request_head_s, LONGEST_HANDSHAKE_S)
            data, self._data = self._data, b""
            self._shakes_hands = True
            context = entrance.contexts.context
            Secured(plane.loop, self.transport, context, self, server_side=True).begin(data)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        entrance = self._entrance
        plane = entrance.plane
        self._over = True
        plane.downstreams.discard(self)
        client = entrance.accept(self._ticket)
        if not self._shakes_hands and entrance.contexts is not None:
            client.origin = _without_tls(entrance.origin)
        header = self._header
        if header.source is not None and header.destination is not None:
            client.accepted_for(header.source, header.destination)
        transport.set_protocol(cast("asyncio.Protocol", client))
        client.connection_made(transport)
        if self._refusal is not None:
            if len(plane.downstreams) <= plane.max_connections:  # or it was refused for that
                client.refuse(self._refusal)
        elif self._data and not transport.is_closing():
            client.data_received(self._data)
        del self.transport  # the other half of the circle

    def _leave(self) -> None:
        """The connection has come to nothing. May be called again."""
        if self._over:
            return
        self._over = True
        plane = self._entrance.plane
        plane.downstreams.discard(self)
        plane.cells[CONNECTIONS] = len(plane.downstreams)
        plane.cells[ACCEPTED] += 1
        if self._ticket is not None:
            self._ticket.give_back()

    def _describe_peer(self) -> str:
        return self._peer[0].decode() if self._peer[1] else "a unix socket"


def _without_tls(origin: Origin) -> Origin:
    """For a client that came to this listener in plain HTTP all the same."""
    return replace(origin, settings=replace(origin.settings, tls=None), scheme=b"http")
