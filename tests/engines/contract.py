"""What every engine has to do, whoever moves the traffic. A new engine joins by subclassing `EngineContract`."""

from __future__ import annotations

import asyncio
from typing import Protocol

from bgproxy.engines.base import Engine, Traffic
from bgproxy.model import (
    Balance,
    Health,
    PoolView,
    ServiceView,
    Snapshot,
    UpstreamView,
)
from bgproxy.shared_memory.mirrors import Mirrored, MirrorTotals
from tests.support.views import service_view

PATIENCE_S = 10.0


class Field(Protocol):
    """An engine, and the ways to make it do what only traffic can."""

    engine: Engine

    def successor(self) -> Engine:
        """The engine of the next controller, after this one has died."""

    async def obey(self) -> None:
        """Returns when everybody who serves obeys the last snapshot."""

    def carry(self, pool: str, in_flight: int) -> None:
        """From now on so many requests of `web` are under way in a pool."""


def pool(name: str, *addresses: str, health: Health = Health.HEALTHY) -> PoolView:
    return PoolView(
        name, "v1", tuple(UpstreamView(each, each, 1, health, slot=0, tag=0) for each in addresses)
    )


def snapshot(generation: int, active: PoolView, idle: PoolView, *others: str, name: str = "web") -> Snapshot:
    def service(name: str) -> ServiceView:
        return service_view(
            name=name,
            slot=0,
            tag=0,
            hosts=(f"{name}.test",),
            paths=("/",),
            active=active,
            idle=idle,
            balance=Balance.ROUND_ROBIN,
        )

    return Snapshot(generation, tuple(service(each) for each in (name, *others)))


BLUE, GREEN = pool("blue", "10.0.0.1:80"), pool("green", "10.0.1.1:80", "10.0.1.2:80")


class EngineContract:
    """Subclasses have a fixture `field`."""

    async def test_an_engine_that_nobody_used_has_no_predecessor(self, field: Field) -> None:
        assert field.engine.predecessor() is None

    async def test_a_successor_learns_the_health_that_was_in_force(self, field: Field) -> None:
        sick = pool("green", "10.0.1.1:80", health=Health.UNHEALTHY)
        field.engine.apply(snapshot(1, BLUE, sick))
        before = field.successor().predecessor()
        assert before is not None
        pools = (before.services[0].active, before.services[0].idle)
        assert [(pool.name, [each.health for each in pool.upstreams]) for pool in pools] == [
            ("blue", [Health.HEALTHY]),
            ("green", [Health.UNHEALTHY]),
        ]

    async def test_a_successor_sees_the_same_traffic_and_counts_on(self, field: Field) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        field.carry("blue", 2)
        successor = field.successor()
        successor.predecessor()
        successor.apply(snapshot(2, BLUE, GREEN))
        assert successor.traffic("web", "blue").in_flight == 2

    async def test_nothing_is_live_before_everybody_has_noticed(self, field: Field) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        assert field.engine.is_live() is not False
        field.engine.apply(snapshot(2, GREEN, BLUE))
        assert field.engine.is_live() is not True
        await field.obey()
        assert field.engine.is_live() is not False

    async def test_traffic_is_told_by_pool_also_after_a_switch(self, field: Field) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        field.carry("blue", 3)
        field.engine.apply(snapshot(2, GREEN, BLUE))
        assert field.engine.traffic("web", "blue").in_flight == 3
        assert field.engine.traffic("web", "green").is_empty()

    async def test_of_what_is_not_known_there_is_nothing(self, field: Field) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        assert field.engine.traffic("web", "purple") == Traffic(0, 0, 0)
        assert field.engine.totals(("nobody",)).requests == 0
        assert field.engine.ended_holds() == set()
        assert field.engine.parked("web") == (0, 0)
        assert field.engine.mirror_totals("nobody") == MirrorTotals()
        assert field.engine.mirrored("nobody") == Mirrored(MirrorTotals(), [], [])

    async def test_news_come_when_traffic_changes(self, field: Field) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        waiting = [asyncio.ensure_future(field.engine.news()) for _ in range(3)]
        await asyncio.sleep(0)
        field.carry("blue", 1)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*waiting)

    async def test_one_who_stops_waiting_for_news_disturbs_nobody(self, field: Field) -> None:
        field.engine.apply(snapshot(1, BLUE, GREEN))
        await field.obey()
        leaving, staying = (asyncio.ensure_future(field.engine.news()) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        field.carry("blue", 1)
        async with asyncio.timeout(PATIENCE_S):
            await staying
        assert leaving.cancelled()
