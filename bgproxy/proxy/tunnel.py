"""A connection whose requests are none of our business, or are over: bytes both ways until either side has had enough.

Nothing unrelated ever ends a tunnel. A switch away from its pool gives it until the drain deadline; then a
WebSocket is told that the server is going away, and anything else is closed. What passes is never altered.
"""

from __future__ import annotations

import asyncio
import os
import socket
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from bgproxy.proxy import limits
from bgproxy.proxy.reset import close_with_reset
from bgproxy.proxy.websocket import GOING_AWAY, FrameFollower, close_frame
from bgproxy.shared_memory.counters import TUNNELS

if TYPE_CHECKING:
    from bgproxy.proxy.downstream import Downstream
    from bgproxy.proxy.stream import StreamDownstream
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LiveUpstream
    from bgproxy.routing.split import LiveService

# How long a WebSocket that has to end may take to complete the frames that it is in, and then to answer the
# close frames. Together less than what the supervisor waits beyond its own deadline.
WEBSOCKET_FRAME_S: Final = 1.0
WEBSOCKET_CLOSE_S: Final = 1.0

_HEAD_END: Final = b"\r\n\r\n"


class Frames(NamedTuple):
    """Where the frames of a WebSocket end, in each direction."""

    from_client: FrameFollower
    from_upstream: FrameFollower

    @property
    def broken(self) -> bool:
        return self.from_client.broken or self.from_upstream.broken


class Tunnel:
    """Implements `UpstreamUser` and `DownstreamUser`: after a 101 response, or of a TCP listener."""

    __slots__ = (
        "_client_open",
        "_connection",
        "_ending",
        "_frames",
        "_upstream_open",
        "downstream",
        "pool",
        "service",
        "upstream",
    )

    def __init__(
        self,
        downstream: Downstream | StreamDownstream,
        connection: UpstreamConnection,
        service: LiveService,
        pool: str,
        upstream: LiveUpstream,
        *,
        websocket: bool = False,
    ) -> None:
        self.downstream = downstream
        self.service = service.view.name
        self.pool = pool
        self.upstream = upstream
        self._connection = connection
        # until the end of its stream
        self._client_open = True
        self._upstream_open = True
        # of a WebSocket only
        self._frames = Frames(FrameFollower(masked=True), FrameFollower(masked=False)) if websocket else None
        self._ending = False  # nothing passes any more but what completes a frame

    def begin(self, to_client: bytes, to_upstream: bytes) -> None:
        """Takes both sides over; the bytes are the 101, if any, and what has already been read of each."""
        plane = self.downstream.plane
        for transport in (self.downstream.transport, self._connection.transport):
            _find_out_when_it_vanishes(transport)
        self.downstream.user = self
        self.downstream.deadline = inf
        self._connection.user = self
        plane.tunnels.add(self)
        self.upstream.cells[TUNNELS] += 1
        if self._frames is not None:
            self._frames.from_upstream.feed(to_client.partition(_HEAD_END)[2])
        self.downstream.transport.write(to_client)
        self.downstream.transport.resume_reading()  # before the upstream may ask to pause it again
        if to_upstream:
            self.client_data(to_upstream)

    def end(self) -> None:
        """Its time is up. May be called again until the tunnel is gone."""
        if self not in self.downstream.plane.tunnels or self.downstream.deadline != inf:
            return
        frames = self._frames
        if frames is None or frames.broken or not (self._client_open and self._upstream_open):
            self._close()
        elif frames.from_client.closing or frames.from_upstream.closing:
            self._may_take(WEBSOCKET_CLOSE_S)  # they are about to part by themselves
        else:
            self._ending = True
            self._may_take(WEBSOCKET_FRAME_S)
            self._pass_last(frames)

    # DownstreamUser

    def client_data(self, data: bytes) -> None:
        frames = self._frames
        if frames is not None:
            if self._ending:
                self._pass_last(frames, from_client=data)
                return
            frames.from_client.feed(data)
        self._connection.transport.write(data)

    def client_eof(self) -> bool:
        if _was_reset(self.downstream.transport):
            self.client_gone()
            return False
        self._client_open = False
        self._pass_end(self._connection.transport)
        return True

    def client_gone(self) -> None:
        if self._frames is None or not self._frames.from_client.ended:
            close_with_reset(self.downstream.plane.loop, self._connection.transport)
        self._close()

    def client_full(self) -> None:
        self._connection.transport.pause_reading()

    def client_drained(self) -> None:
        self._connection.transport.resume_reading()

    def timed_out(self) -> None:
        """A tunnel has no deadline before `end` has set one."""
        self._close()

    # UpstreamUser

    def upstream_connected(self, connection: UpstreamConnection) -> None:
        """Never called: a tunnel begins on a connection that exists."""

    def connect_failed(self) -> None:
        """Never called either."""

    def upstream_data(self, data: bytes) -> None:
        frames = self._frames
        if frames is not None:
            if self._ending:
                self._pass_last(frames, from_upstream=data)
                return
            frames.from_upstream.feed(data)
        self.downstream.transport.write(data)

    def upstream_eof(self) -> None:
        if _was_reset(self._connection.transport):
            self.upstream_gone(None)
            return
        self._upstream_open = False
        self._pass_end(self.downstream.transport)

    def upstream_gone(self, error: Exception | None) -> None:  # noqa: ARG002 - any reason ends it
        if self._frames is None or not self._frames.from_upstream.ended:
            close_with_reset(self.downstream.plane.loop, self.downstream.transport)
        self._close()

    def upstream_full(self) -> None:
        self.downstream.transport.pause_reading()

    def upstream_drained(self) -> None:
        self.downstream.transport.resume_reading()

    # Private

    def _pass_end(self, other: asyncio.Transport) -> None:
        """One side has sent all that it will: the other one is told so."""
        if self._ending:
            assert self._frames is not None  # noqa: S101 - only a WebSocket takes time to end
            self._pass_last(self._frames)
        elif self._client_open or self._upstream_open:
            other.write_eof()
        else:
            self._close()

    def _pass_last(self, frames: Frames, from_client: bytes = b"", from_upstream: bytes = b"") -> None:
        """Completes the frames in progress, adds the close frames, and closes once they are answered."""
        client, upstream = frames
        told = client.ended and upstream.ended
        to_upstream = client.feed_last(from_client, close_frame(GOING_AWAY, os.urandom(4)))
        to_client = upstream.feed_last(from_upstream, close_frame(GOING_AWAY))
        if to_upstream:
            self._connection.transport.write(to_upstream)
        if to_client:
            self.downstream.transport.write(to_client)
        client_done = client.closed or client.broken or not self._client_open
        upstream_done = upstream.closed or upstream.broken or not self._upstream_open
        if client_done and upstream_done:
            self._close()
            return
        if client.ended and upstream.ended and not told:
            self._may_take(WEBSOCKET_CLOSE_S)
        # Who has had all and sent all need not wait for the other one.
        if client.ended and not self._upstream_open:
            self._connection.transport.write_eof()
        if upstream.ended and not self._client_open:
            self.downstream.transport.write_eof()

    def _may_take(self, seconds: float) -> None:
        self.downstream.deadline = self.downstream.plane.now + seconds

    def _close(self) -> None:
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


def _was_reset(transport: asyncio.Transport) -> bool:
    """True if a reset came behind the end. It is seen now or never: nobody listens to a side that has ended."""
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def _find_out_when_it_vanishes(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return  # it has gone, below TLS; or its peer is this machine
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limits.KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, limits.KEEPALIVE_PROBES)
