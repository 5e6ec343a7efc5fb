"""An upgraded connection: bytes both ways until either side has had enough.

Nothing unrelated ever ends a tunnel. A switch away from its pool gives it until the drain deadline.
"""

from __future__ import annotations

import asyncio
import socket
from math import inf
from typing import TYPE_CHECKING

from bgproxy.proxy import limits
from bgproxy.shared_memory.counters import TUNNELS

if TYPE_CHECKING:
    from bgproxy.proxy.downstream import Downstream
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LiveUpstream
    from bgproxy.routing.split import LiveService


class Tunnel:
    """Implements `UpstreamUser` and `DownstreamUser` after a 101 response."""

    __slots__ = ("_client_open", "_connection", "_upstream_open", "downstream", "pool", "service", "upstream")

    def __init__(
        self,
        downstream: Downstream,
        connection: UpstreamConnection,
        service: LiveService,
        pool: str,
        upstream: LiveUpstream,
    ) -> None:
        self.downstream = downstream
        self.service = service.view.name
        self.pool = pool
        self.upstream = upstream
        self._connection = connection
        self._client_open = True
        self._upstream_open = True

    def begin(self, to_client: bytes, to_upstream: bytes) -> None:
        """Takes both sides over; the bytes are what has already been read of each."""
        plane = self.downstream.plane
        for transport in (self.downstream.transport, self._connection.transport):
            _find_out_when_it_vanishes(transport)
        self.downstream.user = self
        self.downstream.deadline = inf
        self._connection.user = self
        plane.tunnels.add(self)
        self.upstream.cells[TUNNELS] += 1
        self.downstream.transport.write(to_client)
        if to_upstream:
            self._connection.transport.write(to_upstream)
        self.downstream.transport.resume_reading()

    def end(self) -> None:
        """Closes both sides, what was written before included."""
        plane = self.downstream.plane
        if self not in plane.tunnels:
            return
        plane.tunnels.discard(self)
        self.upstream.cells[TUNNELS] -= 1
        self.downstream.user = None
        self._connection.user = None
        self.downstream.transport.close()
        self._connection.transport.close()
        # A side that does not read what it was sent must not stay for ever.
        self.downstream.deadline = plane.now + limits.TUNNEL_FLUSH_S
        plane.loop.call_later(limits.TUNNEL_FLUSH_S, self._connection.transport.abort)
        if plane.awaited:
            plane.notify()

    # DownstreamUser

    def client_data(self, data: bytes) -> None:
        self._connection.transport.write(data)

    def client_eof(self) -> bool:
        self._client_open = False
        if not self._upstream_open:
            self.end()
            return False
        self._connection.transport.write_eof()
        return True

    def client_gone(self) -> None:
        self.end()

    def client_full(self) -> None:
        self._connection.transport.pause_reading()

    def client_drained(self) -> None:
        self._connection.transport.resume_reading()

    def timed_out(self) -> None:
        """A tunnel has no deadline but the drain's, which calls `end`."""

    # UpstreamUser

    def upstream_connected(self, connection: UpstreamConnection) -> None:
        """Never called: a tunnel begins on a connection that exists."""

    def upstream_data(self, data: bytes) -> None:
        self.downstream.transport.write(data)

    def upstream_eof(self) -> None:
        self._upstream_open = False
        if not self._client_open:
            self.end()
        else:
            self.downstream.transport.write_eof()

    def upstream_gone(self, error: Exception | None) -> None:  # noqa: ARG002 - any reason ends it
        self.end()

    def upstream_full(self) -> None:
        self.downstream.transport.pause_reading()

    def upstream_drained(self) -> None:
        self.downstream.transport.resume_reading()


def _find_out_when_it_vanishes(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock.family == socket.AF_UNIX:
        return  # its peer is this machine
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limits.KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, limits.KEEPALIVE_PROBES)
