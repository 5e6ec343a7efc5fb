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
from email.utils import formatdate
from math import inf
from typing import TYPE_CHECKING, Protocol

from bgproxy.model import ServiceView
from bgproxy.proxy import keepalive, limits
from bgproxy.proxy.connector import Connector
from bgproxy.proxy.parking import Parking
from bgproxy.proxy.queue import Queue
from bgproxy.proxy.shadows import Shadows
from bgproxy.routing.table import Table
from bgproxy.shared_memory import snapshot
from bgproxy.shared_memory.counters import (
    CONNECTIONS,
    DRAINING,
    IDLE,
    SEEN,
    STATE,
    UNROUTED_SLOT,
    UNROUTED_TAG,
    WorkerBlock,
    count_ejection,
)
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.mirrors import MirrorWriter

if TYPE_CHECKING:
    from bgproxy.proxy.access_log import AccessLog
    from bgproxy.proxy.parking import Waiting
    from bgproxy.proxy.tunnel import Tunnel
    from bgproxy.routing.balance import LivePool, LiveUpstream

logger = logging.getLogger("bgproxy.worker")


class Connected(Protocol):
    """What the plane has to do with a client's connection, in whatever phase it is, whatever it carries."""

    transport: asyncio.Transport
    deadline: float  # when `expired` is to be called

    def expired(self) -> None: ...
    def is_idle(self) -> bool: ...
    def reset(self) -> None: ...


class DataPlane:
    """One per worker. `notify` wakes the controller, which waits for what this worker has written."""

    def __init__(
        self, memory: SharedMemory, block: WorkerBlock, notify: Callable[[], None], workers: int = 1
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.notify = notify
        self.memory = memory
        self.block = block
        self._workers = workers
        # the snapshot in force
        self.word = memory.word()
        self.known = -1
        self.table: Table
        self.awaited = False  # the controller waits for something to end
        self._sections: dict[bytes, ServiceView] = {}
        # who is there
        self.cells = block.cells
        self.unrouted = block.record(UNROUTED_SLOT, UNROUTED_TAG)
        self.downstreams: set[Connected] = set()
        self.tunnels: set[Tunnel] = set()
        self.max_connections = affordable_connections()
        self._full_until = 0.0  # said so
        self.draining = False
        self._drain_until = self._idle_until = inf
        self.parking = Parking(self, block)
        self.queue = Queue(self)
        self.queued = 0
        self.connector = Connector(self.loop)
        self.access_log: AccessLog | None = None
        self.shadows = Shadows(self, MirrorWriter(memory, block.index))
        # the clock of all deadlines, as fine as the sweep
        self.now = time.monotonic()
        self.date = b""  # as heads have it
        self._second = 0
        self.dated: set[LivePool | LiveUpstream] = set()  # who remembers a head with it
        self.request_head_s = 10.0
        self.idle_s = 60.0
        self._sweeper = self.loop.call_later(limits.SWEEP_S, self._sweep)
        self.adopt()
        self._tell_time()

    # The snapshot

    def adopt(self) -> None:
        """Puts the current snapshot into force, then says so."""
        current = snapshot.read(self.memory)
        if current is None or current[0] == self.known:
            return
        word, payload = current
        before = getattr(self, "table", None)
        table = Table(
            snapshot.decode(payload, self._sections),
            self.block.record,
            before,
            workers=self._workers,
            on_ejection=_tell_ejection,
        )
        self.table = table
        self.known = word
        views = [service.view for service in table.services.values()]
        # Before a request is routed its service is not known, so the most patient one decides.
        self.request_head_s = max((view.policy.timeouts.request_head_s for view in views), default=10.0)
        self.idle_s = max((view.policy.timeouts.idle_s for view in views), default=60.0)
        self.awaited = any(view.hold is not None or view.drain_until is not None for view in views)
        self.parking.forget_ended({view.hold.id for view in views if view.hold is not None})
        self._retire(table, before)
        self.cells[SEEN] = word
        self.parking.release()
        if self.queued:
            self.queue.serve_all()
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

    # Requests that wait

    def forget(self, waiting: Waiting) -> bool:
        """A request that was parked or queued, and is not going on; True if it was."""
        return self.parking.leave(waiting) or self.queue.leave(waiting)

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
        self._tell_time()
        for downstream in [peer for peer in self.downstreams if peer.deadline < now]:
            downstream.expired()
        for upstream in self.table.upstreams.values():
            if upstream.idle and upstream.idle[0].idle_until < now:
                keepalive.close_idle(upstream, now)
            upstream.cells[IDLE] = len(upstream.idle)  # here, and not twice for each request
        for pool in tuple(self.table.restless):
            pool.tick(now)
        if self.queued:
            self.queue.serve_room()
        if self.shadows:
            self.shadows.sweep(now)
        self.connector.look(now)
        if self.awaited:
            self._sweep_deadlines(time.time())
        if self.draining:
            self._sweep_drain(now)

    def _tell_time(self) -> None:
        """Once in a second there is another date, also for responses that came without one."""
        second = int(time.time())
        if second == self._second:
            return
        self._second = second
        self.date = formatdate(second, usegmt=True).encode()
        for holder in self.dated:  # also what the table has no more, and requests under way still have
            holder.response_memo = None
        self.dated.clear()

    def _sweep_deadlines(self, wall: float) -> None:
        """Deadlines that the controller set, kept here too, in case there is no controller then."""
        self.parking.end_overdue(wall)
        for service in self.table.services.values():
            drain_until = service.view.drain_until
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
            self.parking.end_all()
        self._drain_until = self.now + timeout_s
        self._idle_until = self.now + idle_grace_s

    def is_empty(self) -> bool:
        return not self.downstreams

    def close(self) -> None:
        """Ends whatever is left."""
        self._sweeper.cancel()
        self.shadows.close()
        for downstream in list(self.downstreams):
            downstream.transport.abort()
        for upstream in self.table.upstreams.values():
            keepalive.close_idle(upstream)
        self.cells[CONNECTIONS] = 0

    def _sweep_drain(self, now: float) -> None:
        if now > self._drain_until:
            for tunnel in list(self.tunnels):
                tunnel.end()
            leaving: set[Connected] = {tunnel.downstream for tunnel in self.tunnels}
            # What is closing sends what was written before, until the supervisor loses patience.
            for downstream in self.downstreams - leaving:
                if not downstream.transport.is_closing():
                    downstream.reset()
        elif now > self._idle_until:
            for downstream in [each for each in self.downstreams if each.is_idle()]:
                downstream.transport.close()


def _tell_ejection(upstream: LiveUpstream) -> None:
    """Traffic has shown that it fails, or its time is up."""
    ejected = bool(upstream.ejected_until)
    count_ejection(upstream.cells, ejected=ejected)
    if ejected:
        logger.warning("upstream %s is ejected: it failed again and again", upstream.name)


def affordable_connections() -> int:
    """How many clients this process has descriptors for, each with a connection to an upstream."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)  # about how many are in use
    os.close(lowest_free)
    return max((soft - lowest_free - limits.DESCRIPTORS_RESERVED) // 2, 1)
