from __future__ import annotations

from typing import Any

import orjson

from bgproxy.shared_memory.counters import WorkerBlock
from bgproxy.shared_memory.mirrors import (
    DIFFERENT,
    FAILED,
    MIRROR_TIMED_OUT,
    MIRRORED,
    SAME,
    STATUS_DIFFERS,
    MirrorWriter,
)

from .server import Server

SIDE = {"pool": "blue", "version": "v1", "upstream": "b:1", "status": 200, "body_bytes": 1, "latency_us": 9}


def text(time: float) -> bytes:
    return orjson.dumps(
        {
            "time": time,
            "method": "GET",
            "path": "/",
            "active": SIDE,
            "idle": SIDE,
            "differs": ["body"],
            "body": "different",
            "headers": [{"name": "location", "active": "/", "idle": None}],
            "json": [{"path": "$.a", "active": "number", "idle": "absent"}],
        }
    )


def writer(api: Server) -> tuple[MirrorWriter, int, int]:
    view = api.stage.worker.service("web")
    return MirrorWriter(api.stage.engine._memory, 0), view.slot, view.tag


async def shown(api: Server, query: str = "") -> dict[str, Any]:
    return dict((await api.call("GET", f"/admin/mirror{query}")).json)


async def test_before_anything_is_copied_everything_is_zero(mirroring: Server) -> None:
    answer = await shown(mirroring)
    assert (answer["service"], answer["active"], answer["idle"], answer["share"]) == (
        "web",
        "blue",
        "green",
        0.25,
    )
    assert set(answer["totals"].values()) == {0}
    assert answer["latency_ms"] == {
        "samples": 0,
        "active": {"p50": None, "p95": None},
        "idle": {"p50": None, "p95": None},
    }
    assert answer["differences"] == []


async def test_what_workers_counted_is_told_by_kind(mirroring: Server) -> None:
    mirror, slot, tag = writer(mirroring)
    tally = mirror.tally(slot, tag)
    for cell, number in (
        (MIRRORED, 9),
        (SAME, 4),
        (DIFFERENT, 3),
        (STATUS_DIFFERS, 2),
        (FAILED, 1),
        (MIRROR_TIMED_OUT, 1),
    ):
        tally[cell] = number
    answer = await shown(mirroring, "?service=web")
    assert [answer["totals"][name] for name in ("mirrored", "same", "different", "failed")] == [9, 4, 3, 1]
    assert answer["different"] == {"status": 2, "headers": 0, "body": 0}
    assert answer["failed"]["timed_out"] == 1


async def test_latencies_are_compared_over_the_same_requests(mirroring: Server) -> None:
    mirror, _, tag = writer(mirroring)
    for number in range(1, 101):
        mirror.sample(tag, number * 1000, number * 2000)
    latency = (await shown(mirroring))["latency_ms"]
    assert latency == {
        "samples": 100,
        "active": {"p50": 51.0, "p95": 96.0},
        "idle": {"p50": 102.0, "p95": 192.0},
    }


async def test_the_last_differences_of_all_workers_come_newest_first(mirroring: Server) -> None:
    mirror, _, tag = writer(mirroring)
    memory = mirroring.stage.engine._memory
    WorkerBlock(memory, 1)
    other = MirrorWriter(memory, 1)
    for number in range(0, 80, 2):
        mirror.difference(tag, text(number))
        other.difference(tag, text(number + 1))
    found = (await shown(mirroring))["differences"]
    assert [each["time"] for each in found] == list(range(79, 29, -1))
    assert found[0]["json"] == [{"path": "$.a", "active": "number", "idle": "absent"}]


async def test_the_service_has_to_be_one_that_there_is(shop: Server) -> None:
    assert (await shop.call("GET", "/admin/mirror?service=x")).status == 404
    assert (await shop.call("GET", "/admin/mirror")).status == 422
    assert (await shown(shop, "?service=api"))["share"] is None


async def test_metrics_tell_the_mirror_of_a_service_that_has_one(mirroring: Server) -> None:
    mirror, slot, tag = writer(mirroring)
    mirror.tally(slot, tag)[DIFFERENT] = 7
    text = (await mirroring.call("GET", "/metrics")).text
    assert 'bgproxy_mirror_requests_total{result="different",service="web"} 7.0' in text
