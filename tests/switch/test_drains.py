from __future__ import annotations

import time
from dataclasses import replace

import pytest

from bgproxy.model import Desired, ServiceState
from bgproxy.switch import drains
from bgproxy.switch.drains import Drains, is_safe_to_stop

from .stage import CALL, TEXT, Stage


def is_safe(web: Stage, pool: str = "blue", *, in_use: bool = False) -> bool:
    return is_safe_to_stop(web.engine, "web", pool, in_use=in_use)


@pytest.mark.parametrize("left", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
async def test_a_pool_is_safe_to_stop_when_nothing_at_all_is_left_in_it(
    web: Stage, left: tuple[int, int, int]
) -> None:
    in_flight, tunnels, idle = left
    await web.board.switch(CALL, ["web"])
    web.worker.carry("blue", in_flight=in_flight, tunnels=tunnels, idle=idle)
    await web.obeyed()
    assert not is_safe(web)
    web.worker.carry("blue")
    assert is_safe(web)
    assert not is_safe(web, in_use=True)


async def test_a_pool_is_not_safe_to_stop_before_every_worker_has_left_it(web: Stage) -> None:
    web.worker.obedient = False
    await web.board.switch(CALL, ["web"])
    assert not is_safe(web)
    web.worker.obey()
    assert is_safe(web)


async def test_the_end_of_a_drain_is_told_once(web: Stage) -> None:
    web.worker.carry("blue", in_flight=1)
    await web.board.switch(CALL, ["web"])
    await web.obeyed()
    board = web.board
    assert board.drains.is_draining("web")
    assert not board.drains.check(board.config, board.desired)
    assert not web.told("drained")

    web.worker.carry("blue")
    assert board.drains.check(board.config, board.desired)
    assert not board.drains.is_draining("web")
    assert not board.drains.check(board.config, board.desired)
    (event,) = web.told("drained")
    assert event.data == {"pool": "blue"}
    assert event.service == "web"


async def test_a_drain_is_over_some_time_after_its_deadline_in_any_case(
    web: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.worker.carry("blue", in_flight=1)
    await web.board.switch(CALL, ["web"])
    await web.obeyed()
    board = web.board
    deadline = board.drains.next_deadline()
    assert deadline is not None
    assert deadline == pytest.approx(time.time() + 30 + drains.OVERTIME_S, abs=5)
    monkeypatch.setattr("bgproxy.switch.drains.time.time", lambda: deadline + 1)
    assert board.drains.check(board.config, board.desired)
    assert board.drains.next_deadline() is None
    assert not web.told("drained")


async def test_a_drain_of_a_service_that_was_removed_is_over(shop: Stage) -> None:
    await shop.board.switch(CALL, ["api"])
    shop.worker.obedient = False
    board = shop.board
    services = {"web": shop.config.services["web"]}
    await board.reconfigure(CALL, replace(shop.config, services=services, groups={}), TEXT)
    assert board.drains.check(board.config, board.desired)
    assert board.drains.next_deadline() is None


async def test_the_way_back_drains_the_other_pool(web: Stage) -> None:
    web.worker.carry("blue", in_flight=1)
    await web.board.switch(CALL, ["web"])
    await web.board.rollback(CALL, ["web"])
    web.worker.carry("green", in_flight=1)
    await web.obeyed()
    assert not web.board.drains.check(web.board.config, web.board.desired)
    web.worker.carry("green")
    assert web.board.drains.check(web.board.config, web.board.desired)
    assert web.told("drained")[0].data == {"pool": "green"}


async def test_changes_that_drain_nothing_begin_no_drain(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    await web.obeyed()
    web.board.drains.check(web.board.config, web.board.desired)
    await web.board.set_canary(CALL, "web", 10, ())
    assert not web.board.drains.is_draining("web")


async def test_a_successor_takes_up_what_is_not_over(web: Stage) -> None:
    now = time.time()
    states = {
        "soon": ServiceState("green", drain_until=now + 10),
        "late": ServiceState("green", drain_until=now - 1),
        "over": ServiceState("green", drain_until=now - drains.OVERTIME_S - 1),
        "none": ServiceState("green"),
    }
    successor = Drains(web.engine, web.events)
    successor.resume(Desired(3, states))
    assert [name for name in states if successor.is_draining(name)] == ["soon", "late"]
    assert successor.next_deadline() == now - 1 + drains.OVERTIME_S
