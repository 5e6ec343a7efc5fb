"""One client connection of a TCP listener, from its arrival to the tunnel that it becomes.

There is no request: the connection itself is routed, split, balanced, held, queued and counted, once. Never looks
at its bytes, and never sends any before a connection to an upstream stands, so that every attempt is safe to
repeat elsewhere. Who cannot be served is reset: to most protocols a plain close is an empty answer.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import perf_counter_ns
from typing import TYPE_CHECKING

from bgproxy.errors import ProxyError
from bgproxy.observability.access import Outcome
from bgproxy.proxy.client import ClientConnection
from bgproxy.proxy.log_entry import note_stream
from bgproxy.proxy.tunnel import Tunnel
from bgproxy.shared_memory.counters import (
    CONNECT_FAILED,
    DURATION_US,
    HISTOGRAM,
    IN_FLIGHT,
    RESPONSES,
    RETRIED,
    bucket_of,
)

if TYPE_CHECKING:
    from bgproxy.proxy.dataplane import DataPlane
    from bgproxy.proxy.origin import Origin
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LivePool, LiveUpstream
    from bgproxy.routing.split import LiveService


class StreamDownstream(ClientConnection):
    """Implements `UpstreamUser` and `Waiting` until it is connected; from then on `user` has both sides.

    While it waits or connects, the client is not read: what it sends stays in the kernel, but for one read that
    may come before the pause, and a client that leaves is noticed as soon as there is an upstream to tell.
    """

    __slots__ = (
        "_connect_ns",
        "_connecting",
        "_kept",
        "_tried",
        "attempts",
        "connect_us",
        "pool",
        "service",
        "started_ns",
        "total_until",
        "upstream",
        "user",
    )

    # unset until it is known
    service: LiveService
    pool: LivePool

    def __init__(self, plane: DataPlane, origin: Origin) -> None:
        super().__init__(plane, origin)
        self.started_ns = perf_counter_ns()
        self._kept = b""  # read before there was somebody to send it to
        # the attempt, and the ones that have failed
        self.upstream: LiveUpstream | None = None
        self.attempts = 0
        self.connect_us: int | None = None
        self._connecting = False  # counted in flight
        self._connect_ns = 0
        self._tried: tuple[LiveUpstream, ...] = ()
        # once it is connected
        self.user: Relay | None = None
        self.total_until = inf

    def choose(self) -> None:
        """Route, split, balance and count, without an await in between; again after a hold or a queue."""
        plane, settings = self.plane, self.origin.settings
        self.transport.pause_reading()
        self.deadline = inf
        if plane.word[0] != plane.known:
            plane.adopt()
        service = plane.table.services.get(settings.service or "")
        if service is None:
            self.refuse(ProxyError(404, "the service of this listener is not there any more"))
            return
        self.service = service
        if not settings.preview:
            if service.maintenance is not None:
                self._turn_away()
                return
            if service.hold is not None and plane.parking.park(self, service):
                return
        self.pool = pool = service.preview()[0] if settings.preview else service.split_stream()
        upstream = self._next_upstream()
        if upstream is not None:
            if service.timeouts.total_s != inf:
                self.total_until = plane.now + service.timeouts.total_s
            self._connect(upstream)
        elif pool.is_full() and plane.queue.enter(self, service):
            self.deadline = plane.now + service.limits.queue_timeout_s
        else:
            self._turn_away()

    def choose_anew(self) -> None:
        self.choose()

    def take_turn(self) -> None:
        """It was queued, and there is room in its pool."""
        upstream = self._next_upstream()
        if upstream is None:
            self._turn_away()
        else:
            self._connect(upstream)

    def parked_bytes(self) -> int:
        """What a hold or a queue keeps of it."""
        return len(self._kept)

    @property
    def downstream(self) -> StreamDownstream:
        """Itself: a hold or a queue that lets a request go on does it by its client's connection."""
        return self

    def relayed(self, outcome: Outcome, received_bytes: int, sent_bytes: int) -> None:
        """Both sides are closed, or about to be."""
        if self.upstream is not None:
            self._make_room(self.upstream)
        self._log(101, outcome, received_bytes, sent_bytes)

    # ClientConnection

    def refuse(self, error: ProxyError) -> None:
        self.plane.unrouted[RESPONSES + error.status // 100] += 1
        self._log(error.status, "refused")
        self.reset()

    def expired(self) -> None:
        if self.user is not None:
            self.user.timed_out()
        elif self.transport.is_closing():
            self.transport.abort()
        elif self._connecting:
            self.plane.connector.give_up(self)
            self.connect_failed()
        elif self.plane.queue.leave(self):
            self._turn_away()

    def is_idle(self) -> bool:
        """Never: nobody knows what its silence means."""
        return False

    # UpstreamUser

    def upstream_connected(self, connection: UpstreamConnection) -> None:
        upstream = self.upstream
        assert upstream is not None  # noqa: S101 - an attempt has an upstream
        if self.transport.is_closing():
            connection.close()  # `connection_lost` is about to be called
            return
        relay = Relay(self, connection, upstream)
        kept, self._kept = self._kept, b""
        relay.begin(b"", kept)
        self._count(1)  # now that the tunnel is counted: a drain must see one of the two at any time

    def connect_failed(self) -> None:
        upstream, plane = self.upstream, self.plane
        assert upstream is not None  # noqa: S101 - an attempt has an upstream
        upstream.cells[CONNECT_FAILED] += 1
        if upstream.observe is not None:
            upstream.observe(True, 0, plane.now)
        self._tried = (*self._tried, upstream)
        if self.attempts <= self.service.retries.attempts and plane.now < self.total_until:
            other = self._next_upstream()
            if other is not None:
                upstream.cells[RETRIED] += 1
                upstream.cells[IN_FLIGHT] -= 1
                self._make_room(upstream)
                self._connect(other)
                return
        self._count(5)
        self._make_room(upstream)
        self._log(502, "connect_failed")
        self.reset()

    def upstream_data(self, data: bytes) -> None:
        """Never called, like the next ones: all this is its relay's business."""

    def upstream_eof(self) -> None: ...
    def upstream_gone(self, error: Exception | None) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.transport.is_closing():
            return
        self.transport.pause_reading()
        # Not at once: the loop has yet to begin with reading, whatever was said here.
        self.plane.loop.call_soon(self._begin)

    def data_received(self, data: bytes) -> None:
        if self.user is not None:
            self.user.client_data(data)
        else:
            self._kept += data
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        if self.user is not None:
            return self.user.client_eof()
        return True  # it comes again when reading goes on

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self.leave()
        if self.user is not None:
            self.user.client_gone()
        elif self._connecting:
            self.plane.connector.give_up(self)
            self._count(0)
            if self.upstream is not None:
                self._make_room(self.upstream)
            self._log(0, "client_left")
        elif self.plane.forget(self):
            self.service.cells[RESPONSES] += 1  # it was nobody's yet but the service's
            self._log(0, "client_left")

    def pause_writing(self) -> None:
        if self.user is not None:
            self.user.client_full()

    def resume_writing(self) -> None:
        if self.user is not None:
            self.user.client_drained()

    # Private

    def _begin(self) -> None:
        if not self.transport.is_closing():
            self.choose()

    def _next_upstream(self) -> LiveUpstream | None:
        """With `balance: hash` by the client's address, which is all that is known of it."""
        pool = self.pool
        if pool.hash_key is None:
            return pool.choose(self._tried)
        return pool.choose_by(self.peer, self._tried)

    def _connect(self, upstream: LiveUpstream) -> None:
        # What balancing and limits go by lasts as long as the connection; the gauge is of what a hold waits for.
        upstream.in_flight += 1
        upstream.cells[IN_FLIGHT] += 1
        self.upstream = upstream
        self.attempts += 1
        self._connecting = True
        self._connect_ns = perf_counter_ns()
        self.deadline = min(self.plane.now + self.service.timeouts.connect_s, self.total_until)
        self.plane.connector.connect(upstream, self, self.service, self)

    def _count(self, status_class: int) -> None:
        """Ends the attempt in the books: once, as a request that was upgraded, or was not."""
        upstream, plane = self.upstream, self.plane
        assert upstream is not None  # noqa: S101 - an attempt has an upstream
        self._connecting = False
        cells = upstream.cells
        cells[RESPONSES + status_class] += 1
        now_ns = perf_counter_ns()
        duration_us = (now_ns - self.started_ns) // 1000
        cells[DURATION_US] += duration_us
        cells[HISTOGRAM + bucket_of(duration_us)] += 1
        if status_class == 1:
            self.connect_us = (now_ns - self._connect_ns) // 1000
            if upstream.observe is not None:
                upstream.observe(False, self.connect_us, plane.now)
        cells[IN_FLIGHT] -= 1
        if not cells[IN_FLIGHT] and plane.awaited:
            plane.notify()

    def _make_room(self, upstream: LiveUpstream) -> None:
        """The upstream has one connection less."""
        upstream.in_flight -= 1
        if self.plane.queued:
            self.plane.queue.serve(self.service, self.pool)

    def _turn_away(self) -> None:
        """Nobody can serve it: nobody healthy, a full queue, maintenance."""
        self.service.cells[RESPONSES + 5] += 1
        self._log(503, "unavailable")
        self.reset()

    def _log(self, status: int, outcome: Outcome, received_bytes: int = 0, sent_bytes: int = 0) -> None:
        log = self.plane.access_log
        if log is not None:
            note_stream(log, self, status, outcome, received_bytes=received_bytes, sent_bytes=sent_bytes)


class Relay(Tunnel):
    """A tunnel that ends when nothing has passed for too long, and knows at its end what it has carried."""

    __slots__ = ("_heard", "_idle_s", "_outcome", "_received_bytes", "_sent_bytes", "_stream")

    def __init__(
        self, stream: StreamDownstream, connection: UpstreamConnection, upstream: LiveUpstream
    ) -> None:
        super().__init__(stream, connection, stream.service, stream.pool.name, upstream)
        self._stream = stream
        self._idle_s = stream.service.timeouts.idle_s
        self._heard = stream.plane.now
        self._received_bytes = self._sent_bytes = 0
        self._outcome: Outcome = "ok"

    def begin(self, to_client: bytes, to_upstream: bytes) -> None:
        super().begin(to_client, to_upstream)
        self._stream.deadline = self._until()

    def end(self) -> None:
        self._outcome = "closed"
        self._close()

    # DownstreamUser

    def client_data(self, data: bytes) -> None:
        self._heard = self._stream.plane.now
        self._received_bytes += len(data)
        self._connection.transport.write(data)

    def client_gone(self) -> None:
        self._outcome = "client_left"
        super().client_gone()

    def timed_out(self) -> None:
        """The deadline is set once, for the silence that would follow; what has passed since only moves it."""
        until = self._until()
        if until > self._stream.plane.now:
            self._stream.deadline = until
        else:
            self.end()

    # UpstreamUser

    def upstream_data(self, data: bytes) -> None:
        self._heard = self._stream.plane.now
        self._sent_bytes += len(data)
        self._stream.transport.write(data)

    def upstream_gone(self, error: Exception | None) -> None:
        self._outcome = "upstream_reset"
        super().upstream_gone(error)

    # Private

    def _until(self) -> float:
        return min(self._heard + self._idle_s, self._stream.total_until)

    def _close(self) -> None:
        if self in self._stream.plane.tunnels:
            super()._close()
            self._stream.relayed(self._outcome, self._received_bytes, self._sent_bytes)
