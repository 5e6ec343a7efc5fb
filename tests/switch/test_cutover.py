from __future__ import annotations

import asyncio

import pytest

from bgproxy.errors import Conflict, HoldTimedOut, NotHealthy, StateError
from bgproxy.switch.calls import HoldLimits

from .stage import CALL, PATIENCE_S, Stage

LONG = HoldLimits(PATIENCE_S)


async def held(stage: Stage) -> None:
    """Returns when the worker obeys the hold."""
    async with asyncio.timeout(PATIENCE_S):
        while stage.worker.service().hold is None or not stage.engine.is_live():
            await stage.engine.news()


async def test_requests_are_held_until_the_old_pool_is_empty_and_then_go_to_the_new_one(web: Stage) -> None:
    web.worker.carry("blue", in_flight=2)
    switch = asyncio.ensure_future(web.board.switch(CALL, ["web"], hold=LONG))
    await held(web)
    web.worker.carry("blue", in_flight=1)
    await asyncio.sleep(0)
    assert not switch.done()
    web.worker.carry("blue", in_flight=0)
    answer = await switch

    await web.obeyed()
    seen = [(each.services[0].active.name, each.services[0].hold is not None) for each in web.worker.obeyed]
    cutover = seen[seen.index(("blue", True)) :]
    assert ("green", True) not in cutover
    assert ("blue", False) not in cutover
    assert cutover[-1] == ("green", False)
    assert answer["held_milliseconds"] > 0


async def test_a_pool_that_is_empty_is_left_at_once_and_in_the_publication_that_ends_the_hold(
    web: Stage,
) -> None:
    before = web.engine.sequence
    answer = await web.board.switch(CALL, ["web"], hold=LONG)
    assert answer["generation"] == 2
    assert web.active() == "green"
    assert web.engine.sequence == before + 2
    assert not web.told("hold")


async def test_an_empty_pool_proves_nothing_before_every_worker_obeys_the_hold(web: Stage) -> None:
    web.worker.obedient = False
    switch = asyncio.ensure_future(web.board.switch(CALL, ["web"], hold=HoldLimits(0.05)))
    with pytest.raises(HoldTimedOut):
        await switch
    assert web.active() == "blue"


async def test_a_hold_that_times_out_lets_requests_go_on_to_the_old_pool(web: Stage) -> None:
    web.worker.carry("blue", in_flight=3)
    with pytest.raises(HoldTimedOut, match=r"not empty after 0\.05 s") as refused:
        await web.board.switch(CALL, ["web"], hold=HoldLimits(0.05))

    assert refused.value.status == 409
    assert refused.value.extra == {"generation": 1, "in_flight": {"web": 3}}
    assert (web.active(), web.worker.service().hold) == ("blue", None)
    entry = (await web.store.history())[0]
    assert (entry.action, entry.outcome, entry.from_pool, entry.to_pool) == (
        "switch",
        "timed_out",
        "blue",
        "green",
    )


async def test_a_limit_that_is_reached_ends_the_hold_and_the_cutover(web: Stage) -> None:
    web.worker.carry("blue", in_flight=1)
    switch = asyncio.ensure_future(web.board.switch(CALL, ["web"], hold=LONG))
    await held(web)
    hold = web.worker.service().hold
    assert hold is not None
    web.worker.overflow(hold)
    with pytest.raises(HoldTimedOut, match="a limit of the hold was reached"):
        await switch
    assert (web.active(), web.worker.service().hold) == ("blue", None)


@pytest.mark.parametrize("in_flight", [0, 1])
async def test_a_release_by_hand_ends_the_cutover(web: Stage, in_flight: int) -> None:
    """Also if the old pool is empty by then: requests went on to it in between."""
    web.worker.carry("blue", in_flight=1)
    switch = asyncio.ensure_future(web.board.switch(CALL, ["web"], hold=LONG))
    await held(web)
    web.worker.obedient = False
    await web.board.release_hold(CALL, ["web"])
    web.worker.carry("blue", in_flight=in_flight)
    web.worker.obey()
    with pytest.raises(HoldTimedOut, match="the hold was released"):
        await switch
    assert (web.active(), web.worker.service().hold) == ("blue", None)


async def test_a_target_that_falls_ill_during_the_hold_gets_no_traffic(web: Stage) -> None:
    web.worker.carry("blue", in_flight=1)
    switch = asyncio.ensure_future(web.board.switch(CALL, ["web"], hold=LONG))
    await held(web)
    await web.fail("web/green/0")
    web.worker.carry("blue", in_flight=0)
    with pytest.raises(NotHealthy):
        await switch
    assert (web.active(), web.worker.service().hold) == ("blue", None)


async def test_a_store_that_fails_ends_the_hold_on_the_old_pool(web: Stage) -> None:
    web.store.fails = True
    with pytest.raises(StateError):
        await web.board.switch(CALL, ["web"], hold=LONG)
    assert (web.active(), web.worker.service().hold) == ("blue", None)


async def test_a_caller_that_goes_away_during_the_hold_ends_it(web: Stage) -> None:
    web.worker.carry("blue", in_flight=1)
    switch = asyncio.ensure_future(web.board.switch(CALL, ["web"], hold=LONG))
    await held(web)
    switch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await switch
    assert (web.active(), web.worker.service().hold) == ("blue", None)
    web.worker.carry("blue", in_flight=0)
    await web.board.switch(CALL, ["web"], hold=LONG)


async def test_nobody_else_changes_the_service_meanwhile(web: Stage) -> None:
    web.worker.carry("blue", in_flight=1)
    switch = asyncio.ensure_future(web.board.switch(CALL, ["web"], hold=LONG))
    await held(web)
    with pytest.raises(Conflict, match="under way"):
        await web.board.set_canary(CALL, "web", 1, ())
    web.worker.carry("blue", in_flight=0)
    await switch


async def test_a_hold_by_hand_is_not_taken_over(web: Stage) -> None:
    await web.board.hold(CALL, ["web"], LONG)
    with pytest.raises(Conflict, match="already held"):
        await web.board.switch(CALL, ["web"], hold=LONG)
    assert web.worker.service().hold is not None


async def test_a_group_waits_for_all_of_its_pools(shop: Stage) -> None:
    shop.worker.carry("blue", service="api", in_flight=1)
    switch = asyncio.ensure_future(shop.board.switch(CALL, ["web", "api"], hold=LONG))
    await held(shop)
    assert shop.worker.service("api").hold is not None
    assert not switch.done()
    shop.worker.carry("blue", service="api", in_flight=0)
    await switch
    assert (shop.active("web"), shop.active("api")) == ("green", "green")
    assert shop.worker.service("api").hold is None


async def test_a_rollback_may_hold_as_well(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    answer = await web.board.rollback(CALL, ["web"], hold=LONG)
    assert (answer["from"], answer["to"]) == ("green", "blue")
    assert answer["held_milliseconds"] > 0
