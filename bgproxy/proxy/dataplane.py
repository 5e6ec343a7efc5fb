"""What the connections of one worker share: the snapshot in force, the clock, and who is there.

`adopt` is the worker's half of a cutover. It runs at the first request after a publication, or when the
controller wakes an idle worker, and from then on nothing is chosen by an older snapshot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from bgproxy.model import ServiceView
from bgproxy.proxy import keepalive, limits
from bgproxy.proxy.upstream import UpstreamConnection
from bgproxy.routing.table import Table
from bgproxy.shared_memory import snapshot
from bgproxy.shared_memory.counters import (
    CONNECTIONS,
    DRAINING,
    HELD,
    OVERFLOWED,
    PARKED,
    PARKED_REQUESTS,
    PARKED_SIZE,
    SEEN,
    STATE,
    UNROUTED_SLOT,
    UNROUTED_TAG,
    WorkerBlock,
)
from bgproxy.shared_memory.layout import SharedMemory

if TYPE_CHECKING:
    from bgproxy.proxy.downstream import Downstream
    from bgproxy.proxy.exchange import Exchange
    from bgproxy.proxy.tunnel import Tunnel
    from bgproxy.routing.balance import LiveUpstream
    from bgproxy.routing.split import LiveService

logger = logging.getLogger("bgproxy.worker")


class DataPlane:
    """One per worker. `notify` wakes the controller, which waits for what this worker has written."""

    def __init__(self, memory: SharedMemory, block: WorkerBlock, notify: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.notify = notify
        # the snapshot in force
        self.word = memory.word()
        self.known = -1
        self.table: Table
        self.awaited = False  # the controller waits for something to end
        self._memory = memory
        self._block = block
        self._sections: dict[bytes, ServiceView] = {}
        self._ended_holds: set[int] = set()
        # who is there
        self.cells = block.cells
        self.unrouted = block.record(UNROUTED_SLOT, UNROUTED_TAG)
        self.downstreams: set[Downstream] = set()
        self.tunnels: set[Tunnel] = set()
        self.max_connections = affordable_connections()
        self._full_until = 0.0  # said so
        self.draining = False
        self._drain_until = self._idle_until = inf
        self._parked: dict[Exchange, tuple[LiveService, int]] = {}  # with its bytes, in the order of arrival
        self._connecting: dict[Exchange, tuple[asyncio.Task[None], UpstreamConnection]] = {}
        # the clock of all deadlines, as fine as the sweep
        self.now = time.monotonic()
        self.request_head_s = 10.0
        self.idle_s = 60.0
        self._sweeper = self.loop.call_later(limits.SWEEP_S, self._sweep)
        self.adopt()

    # The snapshot

    def adopt(self) -> None:
        """Puts the current snapshot into force, then says so."""
        current = snapshot.read(self._memory)
        if current is None or current[0] == self.known:
            return
        word, payload = current
        before = getattr(self, "table", None)
        table = Table(snapshot.decode(payload, self._sections), self._block.record, before)
        self.table = table
        self.known = word
        views = [service.view for service in table.services.values()]
        # Before a request is routed its service is not known, so the most patient one decides.
        self.request_head_s = max((view.policy.timeouts.request_head_s for view in views), default=10.0)
        self.idle_s = max((view.policy.timeouts.idle_s for view in views), default=60.0)
        self.awaited = any(view.hold is not None or view.drain_until is not None for view in views)
        self._ended_holds &= {view.hold.id for view in views if view.hold is not None}
        self._retire(table, before)
        self.cells[SEEN] = word
        self._release_parked()
        self.notify()

    def _retire(self, table: Table, before: Table | None) -> None:
        """Closes the idle connections to what traffic has left."""
        if before is not None:
            for tag, upstream in before.upstreams.items():
                if tag not in table.upstreams:
                    upstream.retired = True
                    keepalive.close_idle(upstream)
        for service in table.services.values():
            draining = service.view.drain_until is not None and service.view.canary is None
            for upstream in service.idle.upstreams:
                upstream.retired = draining
                if draining:
                    keepalive.close_idle(upstream)
            for upstream in service.active.upstreams:
                upstream.retired = False

    # Holds

    def park(self, exchange: Exchange, service: LiveService) -> bool:
        """Keeps a request for as long as its service is held; False if the hold is over for this worker."""
        hold = service.hold
        if hold is None or hold.id in self._ended_holds:
            return False
        size = exchange.parked_bytes()
        cells = service.cells
        if cells[PARKED_REQUESTS] >= hold.max_requests or cells[PARKED_SIZE] + size > hold.max_bytes:
            logger.warning("hold %d of %s ended: its limit is reached", hold.id, service.view.name)
            self.cells[OVERFLOWED] = hold.id
            self._ended_holds.add(hold.id)
            self._release_parked()
            self.notify()
            return False
        self._parked[exchange] = (service, size)
        cells[PARKED_REQUESTS] += 1
        cells[PARKED_SIZE] += size
        cells[HELD] += 1
        self.cells[PARKED] = len(self._parked)
        return True

    def unpark(self, exchange: Exchange) -> bool:
        """Forgets a request, because it goes on or because its client has left; True if it was parked."""
        parked = self._parked.pop(exchange, None)
        if parked is None:
            return False
        service, size = parked
        service.cells[PARKED_REQUESTS] -= 1
        service.cells[PARKED_SIZE] -= size
        self.cells[PARKED] = len(self._parked)
        return True

    def _release_parked(self) -> None:
        """Sends on, in the order of arrival, what no hold keeps any more."""
        for exchange, (parked_in, _) in list(self._parked.items()):
            if exchange not in self._parked:
                continue  # one that went on before found a newer snapshot, and released this one with it
            service = self.table.services.get(parked_in.view.name)
            if service is not None and service.hold is not None and service.hold.id not in self._ended_holds:
                continue
            self.unpark(exchange)
            exchange.downstream.transport.resume_reading()
            exchange.choose()

    # Connections to upstreams

    def connect(self, upstream: LiveUpstream, exchange: Exchange) -> None:
        """Opens a connection for an exchange, which hears of its success or failure."""
        connection = UpstreamConnection(upstream, exchange)
        task = self.loop.create_task(self._connect(upstream.address, connection, exchange))
        self._connecting[exchange] = (task, connection)

    def give_up_connecting(self, exchange: Exchange) -> None:
        """The exchange does not want its connection any more."""
        attempt = self._connecting.pop(exchange, None)
        if attempt is not None:
            task, connection = attempt
            connection.user = None
            task.cancel()

    async def _connect(self, address: str, connection: UpstreamConnection, exchange: Exchange) -> None:
        try:
            if address.startswith("unix:"):
                await self.loop.create_unix_connection(lambda: connection, address[len("unix:") :])
            else:
                host, _, port = address.rpartition(":")
                await self.loop.create_connection(lambda: connection, host.strip("[]"), int(port))
        except OSError:
            if self._has_connected(exchange, connection):
                exchange.connect_failed()
        else:
            self._has_connected(exchange, connection)

    def _has_connected(self, exchange: Exchange, connection: UpstreamConnection) -> bool:
        """Forgets an attempt that is over; False if the exchange has given it up, or is at another one."""
        attempt = self._connecting.get(exchange)
        if attempt is None or attempt[1] is not connection:
            return False
        del self._connecting[exchange]
        return True

    def say_full(self) -> None:
        """Tells the operator that clients are turned away; not for each of them."""
        if self.now >= self._full_until:
            self._full_until = self.now + limits.FULL_SAID_S
            logger.error(
                "clients are turned away: this worker has %d connections and descriptors for no more; "
                "raise LimitNOFILE or `ulimit -Hn`, or use more workers",
                self.max_connections,
            )

    # Time

    def _sweep(self) -> None:
        # First of all: an error with one connection must not end the timeouts of the others.
        self._sweeper = self.loop.call_later(limits.SWEEP_S, self._sweep)
        now = self.now = time.monotonic()
        for downstream in [peer for peer in self.downstreams if peer.deadline < now]:
            downstream.expired()
        idle_since = now - limits.IDLE_CONNECTION_S
        for upstream in self.table.upstreams.values():
            if upstream.idle and upstream.idle[0].idle_since < idle_since:
                keepalive.close_idle(upstream, idle_since)
        if self.awaited:
            self._sweep_deadlines(time.time())
        if self.draining:
            self._sweep_drain(now)

    def _sweep_deadlines(self, wall: float) -> None:
        """Deadlines that the controller set, kept here too, in case there is no controller then."""
        for service in self.table.services.values():
            hold, drain_until = service.hold, service.view.drain_until
            if hold is not None and hold.until < wall and hold.id not in self._ended_holds:
                self._ended_holds.add(hold.id)
                self._release_parked()
            if drain_until is not None and drain_until < wall:
                name, pool = service.view.name, service.idle.name
                for tunnel in [each for each in self.tunnels if (each.service, each.pool) == (name, pool)]:
                    tunnel.end()

    # Shutdown

    def drain(self, timeout_s: float, idle_grace_s: float) -> None:
        """From now on every response closes its connection; `is_empty` tells when all have gone.

        A connection without a request is closed after `idle_grace_s`, everything after `timeout_s`.
        """
        self.draining = True
        self.cells[STATE] = DRAINING
        if timeout_s != inf:
            # There will be no other time for what a hold keeps.
            self._ended_holds |= {
                each.hold.id for each in self.table.services.values() if each.hold is not None
            }
            self._release_parked()
        self._drain_until = self.now + timeout_s
        self._idle_until = self.now + idle_grace_s

    def is_empty(self) -> bool:
        return not self.downstreams

    def close(self) -> None:
        """Ends whatever is left."""
        self._sweeper.cancel()
        for downstream in list(self.downstreams):
            downstream.transport.abort()
        for upstream in self.table.upstreams.values():
            keepalive.close_idle(upstream)
        self.cells[CONNECTIONS] = 0

    def _sweep_drain(self, now: float) -> None:
        for downstream in list(self.downstreams):
            if now > self._drain_until:
                downstream.reset()
            elif now > self._idle_until and downstream.is_idle():
                downstream.transport.close()


def affordable_connections() -> int:
    """How many clients this process has descriptors for, each with a connection to an upstream."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)  # about how many are in use
    os.close(lowest_free)
    return max((soft - lowest_free - limits.DESCRIPTORS_RESERVED) // 2, 1)
