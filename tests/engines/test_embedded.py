from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator

import pytest

from bgproxy.engines.base import UNROUTED
from bgproxy.engines.embedded import EmbeddedEngine
from bgproxy.model import Snapshot
from bgproxy.shared_memory import snapshot as snapshots
from bgproxy.shared_memory.counters import (
    ACCEPTED,
    IN_FLIGHT,
    OVERFLOWED,
    PARKED_REQUESTS,
    PARKED_SIZE,
    PID,
    RESPONSES,
    SEEN,
    UNROUTED_SLOT,
    UNROUTED_TAG,
    WorkerBlock,
)
from bgproxy.shared_memory.layout import RECORDS, SharedMemory
from bgproxy.shared_memory.mirrors import MIRRORED, MirrorWriter
from bgproxy.shared_memory.wake import Bell

from .contract import BLUE, GREEN, PATIENCE_S, EngineContract, pool, snapshot


class EmbeddedField:
    """Two workers, which are blocks of the memory that this process writes."""

    def __init__(self) -> None:
        self.memory = SharedMemory.create()
        self.bells = [Bell(), Bell()]
        self.own = Bell()
        self.engine = EmbeddedEngine(self.memory, self.bells, self.own)
        self.workers = [WorkerBlock(self.memory, index) for index in (0, 1)]
        self._engines = [self.engine]

    def successor(self) -> EmbeddedEngine:
        self._engines[-1].close()
        self._engines.append(EmbeddedEngine(self.memory, self.bells, self.own))
        return self._engines[-1]

    async def obey(self, *indices: int) -> None:
        for index in indices or (0, 1):
            self.workers[index].cells[SEEN] = self.memory.word()[0]

    def carry(self, pool: str, in_flight: int) -> None:
        (slot, tag), *_ = self.places(pool)
        self.workers[1].record(slot, tag)[IN_FLIGHT] = in_flight
        self.own.ring()

    @property
    def now(self) -> Snapshot:
        current = snapshots.read(self.memory)
        assert current is not None
        return snapshots.decode(current[1])

    def places(self, pool: str) -> list[tuple[int, int]]:
        view = self.now.services[0]
        found = view.active if view.active.name == pool else view.idle
        return [(each.slot, each.tag) for each in found.upstreams]

    def close(self) -> None:
        self._engines[-1].close()
        for bell in (*self.bells, self.own):
            for fd in set(bell.fds):
                os.close(fd)
        os.close(self.memory.fd)


@contextlib.asynccontextmanager
async def embedded() -> AsyncIterator[EmbeddedField]:
    field = EmbeddedField()
    yield field
    field.close()


class TestEmbedded(EngineContract):
    @pytest.fixture
    async def field(self) -> AsyncIterator[EmbeddedField]:
        async with embedded() as field:
            yield field

    async def test_a_snapshot_is_in_force_when_apply_returns(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(5, BLUE, GREEN))
        assert field.now.generation == 5
        assert field.now.services[0].active.name == "blue"
        assert field.engine.sequence == 1

    async def test_every_worker_is_woken(self, field: EmbeddedField) -> None:
        loop = asyncio.get_running_loop()
        rung = [asyncio.Event() for _ in field.bells]
        for bell, event in zip(field.bells, rung, strict=True):
            loop.add_reader(bell.fileno(), event.set)
        field.engine.apply(snapshot(1, BLUE, GREEN))
        async with asyncio.timeout(PATIENCE_S):
            for event in rung:
                await event.wait()
        for bell in field.bells:
            loop.remove_reader(bell.fileno())

    async def test_workers_are_woken_after_what_waits_for_the_publication_and_once_for_several(
        self, field: EmbeddedField
    ) -> None:
        (first, _) = field.bells
        field.engine.apply(snapshot(1, BLUE, GREEN))
        field.engine.apply(snapshot(2, BLUE, GREEN))
        assert not _is_ringing(first)
        await asyncio.sleep(0)
        assert _is_ringing(first)
        first.silence()
        await asyncio.sleep(0)
        assert not _is_ringing(first)

    async def test_an_engine_that_is_closed_has_woken_everybody(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        field.engine.close()
        assert all(_is_ringing(bell) for bell in field.bells)

    async def test_one_worker_that_lags_is_enough_not_to_be_live(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        field.engine.apply(snapshot(2, GREEN, BLUE))
        await field.obey(0)
        assert not field.engine.is_live()
        await field.obey(1)
        assert field.engine.is_live()

    async def test_a_worker_that_has_only_begun_or_is_dead_holds_nobody_up(
        self, field: EmbeddedField
    ) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey(0)
        assert field.engine.is_live()
        await field.obey(1)
        field.engine.apply(snapshot(2, BLUE, GREEN))
        await field.obey(0)
        field.workers[1].cells[PID] = 0
        assert field.engine.is_live()

    async def test_everything_keeps_its_place_from_one_snapshot_to_the_next(
        self, field: EmbeddedField
    ) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        before = [field.places(name) for name in ("blue", "green")]
        await field.obey()
        field.engine.apply(snapshot(2, GREEN, BLUE))
        assert [field.places(name) for name in ("blue", "green")] == before
        assert len({place for places in before for place in places}) == 3

    async def test_and_from_one_controller_to_the_next(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        before = [field.places(name) for name in ("blue", "green")]
        successor = field.successor()
        successor.predecessor()
        successor.apply(snapshot(2, BLUE, GREEN))
        assert [field.places(name) for name in ("blue", "green")] == before

    async def test_a_place_is_given_away_only_when_nobody_obeys_a_snapshot_with_it(
        self, field: EmbeddedField
    ) -> None:
        """Between two looks at the memory a worker still counts where its own snapshot says."""
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        dropped = {slot for slot, _ in field.places("green")}

        def slots(address: str) -> set[int]:
            field.engine.apply(snapshot(2, BLUE, pool("green", address)))
            return {slot for slot, _ in field.places("green")}

        assert not slots("10.0.2.1:80") & dropped  # the old snapshot is still obeyed
        await field.obey(0)
        assert not slots("10.0.2.2:80") & dropped  # by one worker
        await field.obey()
        assert not slots("10.0.2.2:80") & dropped  # no new place is needed
        assert slots("10.0.2.3:80") <= dropped

    async def test_a_successor_gives_no_place_away_that_is_in_use(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        used = {slot for name in ("blue", "green") for slot, _ in field.places(name)}
        successor = field.successor()
        successor.predecessor()
        successor.apply(snapshot(2, BLUE, pool("green", "10.0.3.1:80")))
        assert not {slot for slot, _ in field.places("green")} & used

    async def test_places_do_not_run_out_when_pools_are_replaced_again_and_again(
        self, field: EmbeddedField
    ) -> None:
        many = 2000
        for generation in range(1, 2 * RECORDS // many):
            addresses = [f"10.{generation}.{number // 250}.{number % 250}:80" for number in range(many)]
            field.engine.apply(snapshot(generation, BLUE, pool("green", *addresses)))
            await field.obey()
        assert len(field.places("green")) == many

    async def test_counters_are_summed_over_workers(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        ((slot, tag),) = field.places("blue")
        view = field.now.services[0]
        for worker in field.workers:
            worker.record(slot, tag)[RESPONSES + 2] = 5
            worker.record(view.slot, view.tag)[RESPONSES + 5] = 2
            worker.record(UNROUTED_SLOT, UNROUTED_TAG)[RESPONSES + 4] = 1
        assert field.engine.totals(("web", "blue", "10.0.0.1:80")).responses[2] == 10
        assert field.engine.totals(("web",)).responses[5] == 4
        assert field.engine.totals(UNROUTED).responses[4] == 2

    async def test_clients_that_were_accepted_stay_counted_when_their_worker_dies(
        self, field: EmbeddedField
    ) -> None:
        for worker in field.workers:
            worker.cells[ACCEPTED] = 10
        field.workers[0].cells[PID] = 0
        assert field.engine.accepted() == 20
        assert len(field.engine.workers()) == 1

    async def test_mirrors_are_summed_over_the_workers(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN, "other"))
        web = next(each for each in field.now.services if each.name == "web")
        for index in (0, 1):
            writer = MirrorWriter(field.memory, index)
            writer.tally(web.slot, web.tag)[MIRRORED] = 3
            writer.sample(web.tag, 1, 2)
            writer.difference(web.tag, b"{}")
        assert field.engine.mirror_totals("web").mirrored == 6
        assert field.engine.mirror_totals("other").mirrored == 0
        found = field.engine.mirrored("web")
        assert (found.totals.mirrored, found.samples, found.differences) == (6, [(1, 2)] * 2, [b"{}"] * 2)

    async def test_holds_are_told_by_workers(self, field: EmbeddedField) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN, "other"))
        web = next(each for each in field.now.services if each.name == "web")
        field.workers[0].cells[OVERFLOWED] = 77
        for worker in field.workers:
            record = worker.record(web.slot, web.tag)
            record[PARKED_REQUESTS], record[PARKED_SIZE] = 3, 1000
        assert field.engine.ended_holds() == {77}
        assert (field.engine.parked("web"), field.engine.parked("other")) == ((6, 2000), (0, 0))


def _is_ringing(bell: Bell) -> bool:
    return bool(select.select([bell.fileno()], [], [], 0)[0])
