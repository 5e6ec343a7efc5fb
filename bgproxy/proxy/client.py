"""What every client's connection has, whatever it carries: whom it is from, and its place among all of them.

Never reads or writes a byte.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from bgproxy.errors import ProxyError
from bgproxy.proxy.reset import end_with_reset
from bgproxy.shared_memory.counters import ACCEPTED, CONNECTIONS

if TYPE_CHECKING:
    from bgproxy.proxy.dataplane import DataPlane
    from bgproxy.proxy.origin import Origin
    from bgproxy.shared_memory.clients import Ticket

Address = tuple[bytes, int]  # as text, without brackets, and the port; on a unix socket `unix:` and 0

UNIX_PEER: Final = b"unix:"


class ClientConnection(ABC):
    """An `asyncio.Protocol` but for the base, which nothing that is compiled may have.

    `deadline` is when the present phase has lasted too long.
    """

    __slots__ = ("_named", "deadline", "origin", "peer", "plane", "ticket", "transport")

    # from `connection_made` on
    transport: asyncio.Transport
    deadline: float

    def __init__(self, plane: DataPlane, origin: Origin) -> None:
        self.plane = plane
        self.origin = origin
        self.peer = UNIX_PEER
        self._named: tuple[Address, Address] | None = None  # by a PROXY header
        self.ticket: Ticket | None = None  # what it counts for while it lives, where there are limits

    @abstractmethod
    def refuse(self, error: ProxyError) -> None:
        """Turns the client away, in the language of what it came for."""

    @abstractmethod
    def expired(self) -> None:
        """The deadline has passed; called by the sweep."""

    @abstractmethod
    def is_idle(self) -> bool:
        """True if nobody would miss it."""

    @abstractmethod
    def data_received(self, data: bytes) -> None: ...

    def accepted_for(self, source: Address, destination: Address) -> None:
        """Whom the connection is really from, as a proxy in front of us says; before `connection_made`."""
        self._named = (source, destination)
        self.peer = source[0]

    def addresses(self) -> tuple[Address, Address]:
        """Where the client is, and what it connected to."""
        if self._named is not None:
            return self._named
        source, destination = (self.transport.get_extra_info(name) for name in ("peername", "sockname"))
        if self.is_local():
            return (UNIX_PEER, 0), (UNIX_PEER, 0)
        return (self.peer, source[1]), (str(destination[0]).encode(), destination[1])

    def is_local(self) -> bool:
        """True if the client is on this machine, on a unix socket."""
        return self.peer is UNIX_PEER

    def reset(self) -> None:
        """Ends the connection in a way that cannot be taken for the end of a response.

        A plain close can: to HTTP/1.0, and wherever else the close is all that marks the end.
        """
        sock = None if self.transport.is_closing() else self.transport.get_extra_info("socket")
        if sock is not None:  # else the connection below TLS has just gone
            end_with_reset(sock)
        self.transport.abort()

    def leave(self) -> None:
        """The connection is over."""
        plane = self.plane
        plane.downstreams.discard(self)
        plane.cells[CONNECTIONS] = len(plane.downstreams)
        if self.ticket is not None:
            self.ticket.give_back()

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        plane = self.plane
        self.deadline = plane.now + plane.request_head_s
        downstreams, cells = plane.downstreams, plane.cells
        downstreams.add(self)
        cells[ACCEPTED] += 1
        cells[CONNECTIONS] = present = len(downstreams)
        if self._named is None:
            peername = transport.get_extra_info("peername")
            if isinstance(peername, tuple):
                self.peer = peername[0].encode()
            elif self.origin.port:
                # It has gone before it was accepted. What it has left behind would be a request from nowhere.
                self.transport.abort()
                return
        if present > plane.max_connections:
            plane.say_full()
            self.refuse(ProxyError(503, "there are too many connections; try again later"))
