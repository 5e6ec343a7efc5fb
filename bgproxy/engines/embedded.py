"""bgproxy's own data plane as an engine: the controller's end of the shared memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from bgproxy.engines.base import UNROUTED, Key, Traffic
from bgproxy.model import PoolView, ServiceView, Snapshot, UpstreamView
from bgproxy.shared_memory import snapshot as snapshots
from bgproxy.shared_memory.counters import (
    PARKED_REQUESTS,
    PARKED_SIZE,
    UNROUTED_SLOT,
    UNROUTED_TAG,
    CounterReader,
    Totals,
    WorkerView,
)
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.mirrors import Mirrored, MirrorReader, MirrorTotals
from bgproxy.shared_memory.slots import Slots
from bgproxy.shared_memory.snapshot import SnapshotWriter, sequence_of
from bgproxy.shared_memory.wake import Bell, ring_all


class Section(NamedTuple):
    """One service of a snapshot: as it was given, with its places, and as the workers get it."""

    given: ServiceView
    placed: ServiceView
    encoded: bytes


class EmbeddedEngine:
    def __init__(self, memory: SharedMemory, workers: Sequence[Bell], own: Bell) -> None:
        self._memory = memory
        self._bells = workers
        self._own = own
        self._writer = SnapshotWriter(memory)
        self._reader = CounterReader(memory)
        self._mirrors = MirrorReader(memory)
        self._slots = Slots(self._reader.is_quiet)
        self._places: dict[Key, tuple[int, int]] = {UNROUTED: (UNROUTED_SLOT, UNROUTED_TAG)}
        self._pools: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._sections: dict[str, Section] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._ring_soon: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(own.fileno(), self._on_bell)

    def predecessor(self) -> Snapshot | None:
        current = snapshots.read(self._memory)
        if current is None:
            return None
        before = snapshots.decode(current[1])
        taken: dict[Key, tuple[int, int]] = {}
        for service in before.services:
            taken[service.name,] = (service.slot, service.tag)
            for pool in (service.active, service.idle):
                for upstream in pool.upstreams:
                    taken[service.name, pool.name, upstream.address] = (upstream.slot, upstream.tag)
        self._slots.restore(taken)
        self._remember(before)
        return before

    def has_room(self, keys: Iterable[Key]) -> bool:
        wanted = list(keys)
        self._release_all_but(wanted)
        return self._slots.room(wanted) >= 0

    def apply(self, snapshot: Snapshot) -> None:
        self._release_all_but(_keys(snapshot))
        self._sections = {service.name: self._section(service) for service in snapshot.services}
        sections = self._sections.values()
        self._writer.publish(snapshots.join(snapshot.generation, [each.encoded for each in sections]))
        placed = Snapshot(snapshot.generation, tuple(each.placed for each in sections))
        self._remember(placed)
        if self._ring_soon is None:
            # A worker that serves reads the word anyway, and waking one that sleeps may cost us our turn on a core:
            # whoever waits for this publication is answered first.
            self._ring_soon = self._loop.call_soon(self._ring)

    def is_live(self) -> bool:
        # A worker that has seen nothing yet has nothing under way, and reads the word before it does.
        current = sequence_of(self._writer.word)
        return all(sequence_of(worker.seen) >= current for worker in self._reader.workers() if worker.seen)

    @property
    def sequence(self) -> int:
        return sequence_of(self._writer.word)

    def traffic(self, service: str, pool: str) -> Traffic:
        return Traffic(*self._reader.under_way(self._pools.get((service, pool), [])))

    def totals(self, key: Key) -> Totals:
        place = self._places.get(key)
        return Totals() if place is None else self._reader.totals(*place)

    def accepted(self) -> int:
        return self._reader.accepted()

    def log_dropped(self) -> int:
        return self._reader.log_dropped()

    def ended_holds(self) -> set[int]:
        return {worker.overflowed for worker in self._reader.workers() if worker.overflowed}

    def parked(self, service: str) -> tuple[int, int]:
        place = self._places.get((service,))
        if place is None:
            return 0, 0
        return self._reader.gauge(PARKED_REQUESTS, *place), self._reader.gauge(PARKED_SIZE, *place)

    def mirror_totals(self, service: str) -> MirrorTotals:
        place = self._places.get((service,))
        return MirrorTotals() if place is None else self._mirrors.totals(*place)

    def mirrored(self, service: str) -> Mirrored:
        place = self._places.get((service,))
        return Mirrored(MirrorTotals(), [], []) if place is None else self._mirrors.read(*place)

    def workers(self) -> list[WorkerView]:
        return self._reader.workers()

    async def news(self) -> None:
        future = self._loop.create_future()
        self._waiters.append(future)
        await future

    def close(self) -> None:
        if self._ring_soon is not None:
            self._ring_soon.cancel()
            self._ring()
        self._loop.remove_reader(self._own.fileno())

    # Private

    def _release_all_but(self, keys: Iterable[Key]) -> None:
        # Nobody uses what the last snapshot did not name. What the next one drops is in use until all obey it.
        kept = {*self._places, *keys}
        if self._slots.has_others(kept) and self.is_live():
            self._slots.keep_only(kept)

    def _ring(self) -> None:
        self._ring_soon = None
        ring_all(self._bells[worker.block] for worker in self._reader.workers())

    def _on_bell(self) -> None:
        self._own.silence()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _section(self, service: ServiceView) -> Section:
        """A service with its places, encoded; the one of the last snapshot if the service is the same."""
        known = self._sections.get(service.name)
        if known is not None and known.given == service:
            return known
        placed = self._place(service)
        return Section(service, placed, snapshots.section_of(placed))

    def _place(self, service: ServiceView) -> ServiceView:
        slot, tag = self._slots.take((service.name,))
        return replace(
            service,
            slot=slot,
            tag=tag,
            active=self._place_pool(service.name, service.active),
            idle=self._place_pool(service.name, service.idle),
        )

    def _place_pool(self, service: str, pool: PoolView) -> PoolView:
        upstreams = []
        for upstream in pool.upstreams:
            slot, tag = self._slots.take((service, pool.name, upstream.address))
            view = UpstreamView(upstream.name, upstream.address, upstream.weight, upstream.health, slot, tag)
            upstreams.append(view)
        return PoolView(pool.name, pool.version, tuple(upstreams))

    def _remember(self, snapshot: Snapshot) -> None:
        """Where everything of this snapshot is counted."""
        self._places = {UNROUTED: (UNROUTED_SLOT, UNROUTED_TAG)}
        self._pools = {}
        for service in snapshot.services:
            self._places[service.name,] = (service.slot, service.tag)
            for pool in (service.active, service.idle):
                places = self._pools[service.name, pool.name] = []
                for upstream in pool.upstreams:
                    place = (upstream.slot, upstream.tag)
                    places.append(place)
                    self._places[service.name, pool.name, upstream.address] = place


def _keys(snapshot: Snapshot) -> list[Key]:
    keys: list[Key] = []
    for service in snapshot.services:
        keys.append((service.name,))
        for pool in (service.active, service.idle):
            keys += [(service.name, pool.name, upstream.address) for upstream in pool.upstreams]
    return keys
