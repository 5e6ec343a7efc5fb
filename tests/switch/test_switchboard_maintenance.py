from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from bgproxy.errors import Conflict, Invalid, StateError
from bgproxy.model import Config, Maintenance, Pool, Protocol, Upstream
from bgproxy.switch.calls import HoldLimits
from bgproxy.switch.switchboard import Switchboard

from .stage import CALL, TEXT, Stage, stage

SHORTLY = Maintenance(60, "We are moving; back at nine.")


async def test_a_maintenance_is_in_force_and_stored_when_it_is_answered(web: Stage) -> None:
    answer = await web.board.begin_maintenance(CALL, ["web"], SHORTLY)

    assert web.worker.service().maintenance == SHORTLY
    assert web.worker.now.generation == answer["generation"] == 2
    stored = await web.store.load()
    assert stored == web.board.desired
    assert stored is not None
    assert stored.services["web"].maintenance == SHORTLY
    assert answer["maintenance"] == {"retry_after": 60, "reason": SHORTLY.reason}
    assert (answer["service"], answer["services"]) == ("web", ["web"])

    ended = await web.board.end_maintenance(CALL, ["web"])
    assert web.worker.service().maintenance is None
    assert (ended["generation"], ended["maintenance"]) == (3, None)


async def test_beginning_and_end_are_in_the_history_and_told(web: Stage) -> None:
    await web.board.begin_maintenance(replace(CALL, reason="moving"), ["web"], SHORTLY)
    await web.board.end_maintenance(CALL, ["web"])
    end, begin = (await web.store.history())[:2]
    assert (begin.action, begin.outcome, begin.actor, begin.reason) == (
        "maintenance",
        "done",
        "tester",
        "moving",
    )
    assert begin.detail == "web is in maintenance: retry after 60 s"
    assert (begin.generation_from, begin.generation_to, end.generation_to) == (1, 2, 3)
    assert end.detail == "maintenance of web ended"
    assert [(event.service, event.text) for event in web.told("maintenance")] == [
        ("web", begin.detail),
        ("web", end.detail),
    ]


async def test_it_needs_nobody_who_is_healthy(web: Stage) -> None:
    await web.fail("web/blue/0", "web/green/0")
    await web.board.begin_maintenance(CALL, ["web"], SHORTLY)
    assert web.worker.service().maintenance == SHORTLY


async def test_a_second_one_replaces_the_first(web: Stage) -> None:
    await web.board.begin_maintenance(CALL, ["web"], SHORTLY)
    await web.board.begin_maintenance(CALL, ["web"], Maintenance(600))
    assert web.worker.service().maintenance == Maintenance(600)


async def test_what_is_in_no_maintenance_does_not_leave_it(web: Stage) -> None:
    with pytest.raises(Conflict, match="web: not in maintenance") as refused:
        await web.board.end_maintenance(CALL, ["web"])
    assert refused.value.extra["generation"] == 1


async def test_a_group_begins_and_ends_as_one_change_and_each_service_is_told(shop: Stage) -> None:
    await shop.board.begin_maintenance(CALL, ["web"], Maintenance(5))
    answer = await shop.board.begin_maintenance(CALL, ["web", "api"], SHORTLY)
    assert (answer["service"], answer["services"], answer["generation"]) == (None, ["web", "api"], 3)
    assert [shop.worker.service(name).maintenance for name in ("web", "api")] == [SHORTLY, SHORTLY]
    assert (await shop.store.history())[0].services == ("web", "api")
    assert [event.service for event in shop.told("maintenance")] == ["web", "web", "api"]

    await shop.board.end_maintenance(CALL, ["api"])
    await shop.board.end_maintenance(CALL, ["web", "api"])
    assert [shop.worker.service(name).maintenance for name in ("web", "api")] == [None, None]
    assert [state.generation for state in shop.board.desired.services.values()] == [5, 4]


async def test_traffic_moves_during_a_maintenance_and_leaves_it_as_it_is(web: Stage) -> None:
    """Which is what it is for: put the new version behind the curtain, then raise it."""
    await web.board.begin_maintenance(CALL, ["web"], SHORTLY)
    await web.board.switch(CALL, ["web"])
    assert (web.active(), web.worker.service().maintenance) == ("green", SHORTLY)
    await web.board.rollback(CALL, ["web"])
    await web.board.set_canary(CALL, "web", 5, ())
    await web.board.end_canary(CALL, "web")
    await web.board.set_pool(CALL, "web", "green", "v3", (Upstream("127.0.0.1:1"),), force=False)
    await web.board.hold(CALL, ["web"], HoldLimits())
    assert (web.active(), web.worker.service().maintenance) == ("blue", SHORTLY)


async def test_another_configuration_leaves_it_as_it_is(web: Stage) -> None:
    await web.board.begin_maintenance(CALL, ["web"], SHORTLY)
    service = web.config.services["web"]
    pools = {**service.pools, "green": Pool("v9", service.pools["green"].upstreams)}
    after = replace(web.config, services={"web": replace(service, pools=pools)})
    assert await web.board.reconfigure(CALL, after, TEXT) == ["service web changed"]
    assert web.worker.service().maintenance == SHORTLY


async def test_the_next_controller_finds_it(web: Stage) -> None:
    await web.board.begin_maintenance(CALL, ["web"], SHORTLY)
    desired = await web.store.load()
    assert desired is not None
    successor = Switchboard(web.config, desired, web.store, web.engine, web.roster, web.events)
    successor.start()
    assert web.worker.service().maintenance == SHORTLY


async def test_a_dry_run_changes_nothing(web: Stage) -> None:
    call = replace(CALL, dry_run=True)
    answer = await web.board.begin_maintenance(call, ["web"], SHORTLY)
    assert (answer["would"], answer["allowed"], answer["generation"]) == ("maintenance", True, 2)
    assert web.worker.service().maintenance is None
    with pytest.raises(Conflict, match="not in maintenance"):
        await web.board.end_maintenance(call, ["web"])
    await web.board.begin_maintenance(CALL, ["web"], SHORTLY)
    assert (await web.board.end_maintenance(call, ["web"]))["maintenance"] is None
    assert web.worker.service().maintenance == SHORTLY
    assert len(web.told("maintenance")) == 1


async def test_a_stale_generation_is_a_conflict(web: Stage) -> None:
    stale = replace(CALL, if_generation=9)
    with pytest.raises(Conflict, match="generation 1, not 9"):
        await web.board.begin_maintenance(stale, ["web"], SHORTLY)
    assert web.worker.service().maintenance is None


async def test_it_is_one_change_among_others(shop: Stage) -> None:
    """Of the same service, that is: another one is free."""
    with shop.board.claim(CALL, ["web"]):
        with pytest.raises(Conflict, match="another change of web is under way"):
            await shop.board.begin_maintenance(CALL, ["web", "api"], SHORTLY)
        await shop.board.begin_maintenance(CALL, ["api"], SHORTLY)


async def test_an_idempotent_one_is_stored_with_its_answer(web: Stage) -> None:
    answer = await web.board.begin_maintenance(replace(CALL, key=("k", "f")), ["web"], SHORTLY)
    stored = await web.store.idempotent("k")
    assert stored is not None
    assert orjson.loads(stored.body).items() <= answer.items()


async def test_a_store_that_fails_leaves_requests_served(web: Stage) -> None:
    web.store.fails = True
    with pytest.raises(StateError):
        await web.board.begin_maintenance(CALL, ["web"], SHORTLY)
    assert web.worker.service().maintenance is None
    assert web.told("maintenance") == []


async def test_what_is_carried_over_tcp_has_no_way_to_say_so() -> None:
    def over_tcp(config: Config) -> Config:
        api = replace(config.services["api"], protocol=Protocol.TCP)
        return replace(config, services={**config.services, "api": api})

    async with stage(("web", "api"), change=over_tcp) as shop:
        with pytest.raises(Invalid, match="api: carried over TCP"):
            await shop.board.begin_maintenance(CALL, ["web", "api"], SHORTLY)
        assert shop.worker.service("web").maintenance is None
