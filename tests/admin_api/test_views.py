from __future__ import annotations

import os
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

import bgproxy
from bgproxy.observability import metrics
from bgproxy.observability.reference import ONE_OF_EACH
from bgproxy.shared_memory.counters import QUEUED, RESPONSES, count_ejection
from bgproxy.switch.calls import Call
from tests.support.build import COMPILED
from tests.switch.stage import TEXT

from .server import Server, serving


async def test_status_is_everything_that_is(api: Server) -> None:
    answer = (await api.call("GET", "/admin/status")).json
    assert (answer["generation"], answer["version"]) == (1, bgproxy.__version__)
    assert answer["compiled"] is COMPILED
    assert answer["sequence"] == api.stage.engine.sequence
    assert answer["supervisor_pid"] == 4711
    assert answer["controller"]["pid"] == os.getpid()
    assert answer["listeners"] == [
        {"name": "public", "bind": "0.0.0.0:80", "address": "127.0.0.1:8080", "preview": False}
    ]
    assert [each["service"] for each in answer["services"]] == ["web"]
    assert len(answer["workers"]) == 1


async def test_services_are_told_together_and_one_by_one(shop: Server) -> None:
    services = (await shop.call("GET", "/admin/services")).json["services"]
    assert [each["service"] for each in services] == ["web", "api"]
    assert (await shop.call("GET", "/admin/services/api")).json == services[1]
    missing = await shop.call("GET", "/admin/services/x")
    assert (missing.status, missing.json["detail"]) == (
        404,
        "there is no service 'x': choose one of api, web",
    )


async def test_history_is_paged_newest_first(shop: Server) -> None:
    for service in ("web", "api", "web"):
        await shop.call("POST", "/admin/switch", {"service": service})
    first = (await shop.call("GET", "/admin/history?limit=2")).json["history"]
    assert [each["services"] for each in first] == [["web"], ["api"]]
    rest = (await shop.call("GET", f"/admin/history?before={first[-1]['id']}")).json["history"]
    assert [each["action"] for each in rest] == ["switch", "first_start"]
    of_api = (await shop.call("GET", "/admin/history?service=api")).json["history"]
    assert [each["generation_to"] for each in of_api] == [3]


async def test_the_history_of_a_service_that_never_was_is_not_empty_but_a_mistake(shop: Server) -> None:
    answer = await shop.call("GET", "/admin/history?service=x")
    assert (answer.status, answer.json["detail"]) == (404, "there is no service 'x': choose one of api, web")
    assert (await shop.call("GET", "/admin/history?service=x&before=2")).json == {"history": []}


async def test_the_history_of_a_service_outlives_it(shop: Server) -> None:
    await shop.call("POST", "/admin/switch", {"service": "api"})
    config = shop.stage.board.config
    without = replace(config, services={"web": config.services["web"]}, groups={})
    await shop.stage.board.reconfigure(Call("ops"), without, TEXT)
    rows = (await shop.call("GET", "/admin/history?service=api")).json["history"]
    assert "switch" in [row["action"] for row in rows]


@pytest.mark.parametrize("name", ["limit", "before"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", "%C2%B2", "9" * 19, "9" * 5000])
async def test_a_number_that_is_none_is_refused(api: Server, name: str, value: str) -> None:
    answer = await api.call("GET", f"/admin/history?{name}={value}")
    assert answer.status == 422
    assert f"{name} is " in answer.json["detail"]


async def test_a_limit_that_is_too_high_is_lowered(api: Server) -> None:
    assert (await api.call("GET", f"/admin/history?limit={'9' * 18}")).status == 200


async def test_health_says_that_the_controller_lives(api: Server) -> None:
    answer = await api.call("GET", "/healthz", headers={"Host": "whatever.example.com"})
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_ready_is_who_serves_the_current_snapshot(api: Server) -> None:
    assert (await api.call("GET", "/readyz")).json == {"status": "ready", "reasons": []}
    api.stage.worker.obedient = False
    api.stage.board.publish()
    answer = await api.call("GET", "/readyz")
    assert answer.status == 503
    assert answer.json == {
        "status": "not ready",
        "reasons": ["a worker has not seen the current snapshot yet"],
    }


async def test_without_a_worker_nobody_is_ready(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.stage.engine, "workers", list)
    answer = await api.call("GET", "/readyz")
    assert (answer.status, answer.json["reasons"]) == (503, ["no worker serves"])


async def test_metrics_are_what_is_documented_and_what_was_counted(mirroring: Server) -> None:
    await mirroring.call("POST", "/admin/switch")
    view = mirroring.stage.worker.service().active.upstreams[0]
    mirroring.stage.worker.cells(view.slot, view.tag)[RESPONSES + 2] = 41
    answer = await mirroring.call("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {each.name: each for each in text_string_to_metric_families(answer.text)}
    told = {each.name for family in families.values() for each in family.samples}
    assert told == {each.name for family in metrics.families(ONE_OF_EACH) for each in family.samples}
    counted = {
        each.labels["pool"]: each.value
        for each in families["bgproxy_requests"].samples
        if each.labels["status"] == "2xx" and each.labels["upstream"]
    }
    assert counted == {"green": 41, "blue": 0}
    active = {each.labels["pool"]: each.value for each in families["bgproxy_pool_active"].samples}
    assert active == {"green": 1, "blue": 0}
    (switches,) = families["bgproxy_switches"].samples
    assert (switches.labels, switches.value) == ({"action": "switch", "outcome": "done"}, 1)


async def test_metrics_tell_the_canary() -> None:
    async with serving() as api:
        await api.call("PUT", "/admin/canary", {"weight": 30})
        text = (await api.call("GET", "/metrics")).text
        assert 'bgproxy_pool_weight_percent{pool="green",service="web"} 30.0' in text


async def test_metrics_tell_the_maintenance_and_what_waits_or_is_left_out(api: Server) -> None:
    view = api.stage.worker.service()
    upstream = view.active.upstreams[0]
    api.stage.worker.cells(view.slot, view.tag)[QUEUED] = 3
    count_ejection(api.stage.worker.cells(upstream.slot, upstream.tag), ejected=True)
    before = (await api.call("GET", "/metrics")).text
    assert 'bgproxy_maintenance{service="web"} 0.0' in before
    assert 'bgproxy_queued_requests{service="web"} 3.0' in before
    labels = f'{{pool="blue",service="web",upstream="{upstream.name}"}}'
    assert f"bgproxy_upstream_ejected{labels} 1.0" in before
    assert f"bgproxy_upstream_ejections_total{labels} 1.0" in before
    await api.call("PUT", "/admin/maintenance")
    assert 'bgproxy_maintenance{service="web"} 1.0' in (await api.call("GET", "/metrics")).text
