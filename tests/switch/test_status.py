from __future__ import annotations

from dataclasses import replace

import pytest

from bgproxy.model import Maintenance, Match
from bgproxy.shared_memory.counters import (
    HISTOGRAM,
    LATENCY_BOUNDS_US,
    LATENCY_BUCKETS,
    QUEUED,
    RESET,
    RESPONSES,
    TIMED_OUT,
    bucket_of,
    count_ejection,
)
from bgproxy.switch import status
from bgproxy.switch.calls import HoldLimits

from .stage import CALL, Stage


def web_status(stage: Stage) -> status.Json:
    return status.services_status(stage.board)[0]


async def test_a_service_with_its_two_pools(web: Stage) -> None:
    told = web_status(web)
    assert (told["service"], told["active"], told["idle"], told["previous"]) == ("web", "blue", "green", None)
    blue, green = told["pools"]["blue"], told["pools"]["green"]
    assert (blue["role"], blue["version"], blue["healthy"], blue["safe_to_stop"]) == (
        "active",
        "v1",
        True,
        False,
    )
    assert (green["role"], green["version"], green["healthy"], green["safe_to_stop"]) == (
        "idle",
        "v2",
        True,
        True,
    )
    (upstream,) = green["upstreams"]
    assert upstream["upstream"] == upstream["address"] == web.backends["web/green/0"].address
    assert upstream["health"] == "healthy"


async def test_counters_are_summed_up(web: Stage) -> None:
    view = web.worker.service().active.upstreams[0]
    cells = web.worker.cells(view.slot, view.tag)
    cells[RESPONSES + 2], cells[RESPONSES + 5] = 99, 1
    cells[RESET], cells[TIMED_OUT] = 2, 3
    cells[HISTOGRAM + bucket_of(1_000)] = 99
    cells[HISTOGRAM + bucket_of(60_000)] = 1

    blue = web_status(web)["pools"]["blue"]

    assert blue["requests"] == 100
    assert blue["responses"] == {"none": 0, "1xx": 0, "2xx": 99, "3xx": 0, "4xx": 0, "5xx": 1}
    assert blue["latency_ms"] == {"p50": 1.0, "p99": 1.0}
    assert (blue["upstreams"][0]["requests"], blue["upstreams"][0]["failures"]) == (100, 5)


async def test_what_bgproxy_answered_itself(web: Stage) -> None:
    view = web.worker.service()
    web.worker.cells(view.slot, view.tag)[RESPONSES + 5] = 4
    assert web_status(web)["proxy_errors"] == 4


async def test_canary_hold_and_drain(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    web.worker.carry("blue", in_flight=1, tunnels=2)
    await web.obeyed()
    await web.board.hold(CALL, ["web"], HoldLimits())
    web.worker.park(3)
    told = web_status(web)
    assert (told["previous"], told["generation"]) == ("blue", 2)
    assert told["drain"] == {
        "pool": "blue",
        "until": web.board.desired.services["web"].drain_until,
        "in_flight": 1,
        "tunnels": 2,
        "safe_to_stop": False,
    }
    assert (told["hold"]["parked"], told["hold"]["parked_bytes"]) == (3, 300)

    await web.board.set_canary(CALL, "web", 5, (Match("header", "a", "b"),))
    told = web_status(web)
    assert told["canary"]["weight"] == 5
    assert told["canary"]["match"] == [{"header": "a", "value": "b"}]


async def test_maintenance(web: Stage) -> None:
    assert web_status(web)["maintenance"] is None
    await web.board.begin_maintenance(CALL, ["web"], Maintenance(90, "moving"))
    assert web_status(web)["maintenance"] == {"retry_after": 90, "reason": "moving"}


async def test_upstreams_that_are_ejected_and_requests_that_wait(web: Stage) -> None:
    view = web.worker.service()
    upstream = view.active.upstreams[0]
    count_ejection(web.worker.cells(upstream.slot, upstream.tag), ejected=True)
    web.worker.cells(view.slot, view.tag)[QUEUED] = 3
    told = web_status(web)
    assert told["queued"] == 3
    (blue,) = told["pools"]["blue"]["upstreams"]
    assert (blue["health"], blue["ejected"], blue["ejections"]) == ("healthy", 1, 1)
    count_ejection(web.worker.cells(upstream.slot, upstream.tag), ejected=False)
    (blue,) = web_status(web)["pools"]["blue"]["upstreams"]
    assert (blue["ejected"], blue["ejections"]) == (0, 1)


async def test_a_pool_that_carries_a_canary_is_not_safe_to_stop(web: Stage) -> None:
    await web.board.set_canary(CALL, "web", 5, ())
    await web.obeyed()
    assert web_status(web)["pools"]["green"]["safe_to_stop"] is False


async def test_idle_connections_keep_a_pool_from_being_stopped_and_are_told(web: Stage) -> None:
    web.worker.carry("green", idle=2)
    green = web_status(web)["pools"]["green"]
    assert (green["safe_to_stop"], green["idle_connections"]) == (False, 2)


async def test_a_failed_check_that_changes_nothing_yet_is_not_the_reason_for_being_healthy(
    web: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (member,) = [each for each in web.board.roster.members if each.pool == "green"]
    known = web.board.roster.status(member)
    doubtful = replace(known, state=replace(known.state, successes=0, failures=1, reason="refused"))
    monkeypatch.setattr(type(web.board.roster), "status", lambda *_: doubtful)
    (upstream,) = web_status(web)["pools"]["green"]["upstreams"]
    assert (upstream["health"], upstream["reason"]) == ("healthy", "last check failed: refused")
    assert [proof.reason for proof in web.board.roster.proofs([("web", "green")])] == [upstream["reason"]]


async def test_workers(web: Stage) -> None:
    (worker,) = status.workers_status(web.engine)
    assert (worker["block"], worker["state"], worker["current"]) == (0, "serving", True)


def histogram(**counts: int) -> list[int]:
    latency = [0] * LATENCY_BUCKETS
    for name, count in counts.items():
        latency[int(name[1:])] = count
    return latency


@pytest.mark.parametrize(
    ("latency", "share", "expected"),
    [
        (histogram(), 0.5, None),
        (histogram(b0=1), 0.5, LATENCY_BOUNDS_US[0] / 1000),
        (histogram(b0=50, b3=50), 0.5, LATENCY_BOUNDS_US[0] / 1000),
        (histogram(b0=49, b3=51), 0.5, LATENCY_BOUNDS_US[3] / 1000),
        (histogram(b0=98, b5=2), 0.99, LATENCY_BOUNDS_US[5] / 1000),
        (histogram(**{f"b{LATENCY_BUCKETS - 1}": 1}), 0.99, LATENCY_BOUNDS_US[-1] / 1000),
    ],
)
def test_a_quantile_is_the_upper_bound_of_its_bucket(
    latency: list[int], share: float, expected: float | None
) -> None:
    assert status.quantile_ms(latency, share) == expected
