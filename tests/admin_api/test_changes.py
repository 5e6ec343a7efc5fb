from __future__ import annotations

import pytest

from bgproxy.model import Health, Maintenance
from tests.switch.stage import of_health

from .server import Server


async def test_switch_and_rollback(api: Server) -> None:
    there = await api.call("POST", "/admin/switch", {"service": "web", "to": "green", "reason": "r"})
    assert (there.json["from"], there.json["to"], there.json["generation"]) == ("blue", "green", 2)
    assert there.json["services"] == [{"service": "web", "from": "blue", "to": "green"}]
    assert api.stage.active() == "green"
    back = await api.call("POST", "/admin/rollback", {"service": "web"})
    assert (back.json["from"], back.json["to"], back.json["generation"]) == ("green", "blue", 3)
    assert api.stage.active() == "blue"


async def test_a_refused_switch_says_who_is_not_healthy_and_why(api: Server) -> None:
    await api.stage.fail("web/green/0")
    answer = await api.call("POST", "/admin/switch")
    assert (answer.status, answer.json["type"]) == (409, "urn:bgproxy:problem:not-healthy")
    (told,) = answer.json["upstreams"]
    assert told["upstream"] == api.stage.backends["web/green/0"].address
    assert told["health"] == "unhealthy"
    assert told["reason"]
    forced = await api.call("POST", "/admin/switch", {"force": True})
    assert (forced.status, forced.json["forced"]) == (200, True)


async def test_a_group_moves_as_one(shop: Server) -> None:
    answer = await shop.call("POST", "/admin/switch", {"group": "all"})
    assert (answer.json["group"], answer.json["service"]) == ("all", None)
    assert (shop.stage.active("web"), shop.stage.active("api")) == ("green", "green")
    await shop.call("POST", "/admin/rollback", {"group": "all"})
    assert (shop.stage.active("web"), shop.stage.active("api")) == ("blue", "blue")


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 422, "say which service"),
        ({"service": "x"}, 404, "no service 'x': choose one of api, web"),
        ({"group": "x"}, 404, "no group 'x': choose one of all"),
        ({"service": "web", "group": "all"}, 422, "not both"),
        ({"service": "web", "to": "x"}, 404, "no pool 'x': choose one of blue, green"),
        ({"service": "web", "to": "blue"}, 409, "already the active pool"),
        ({"service": "web", "if_generation": 9}, 409, "generation 1, not 9"),
    ],
)
async def test_a_switch_that_cannot_be_says_what_could(
    shop: Server, body: dict[str, object], status: int, told: str
) -> None:
    answer = await shop.call("POST", "/admin/switch", body)
    assert answer.status == status
    assert told in answer.json["detail"]
    if status == 409:
        assert answer.json["generation"] == 1


async def test_a_dry_run_changes_nothing(api: Server) -> None:
    answer = await api.call("POST", "/admin/switch", {"dry_run": True})
    assert (answer.json["dry_run"], answer.json["allowed"], answer.json["refusal"]) == (True, True, None)
    assert answer.json["share_of_users_moving"] == 1.0
    await api.stage.fail("web/green/0")
    refused = await api.call("POST", "/admin/switch", {"dry_run": True})
    assert (refused.status, refused.json["allowed"]) == (200, False)
    assert api.stage.backends["web/green/0"].address in refused.json["refusal"]
    assert api.stage.active() == "blue"
    assert api.desk.switches == {}


async def test_a_held_switch_that_times_out_is_a_conflict(api: Server) -> None:
    api.stage.worker.carry("blue", in_flight=2)
    answer = await api.call("POST", "/admin/switch", {"hold": "20ms"})
    assert (answer.status, answer.json["type"]) == (409, "urn:bgproxy:problem:hold-timed-out")
    assert answer.json["in_flight"] == {"web": 2}
    assert api.stage.active() == "blue"
    api.stage.worker.carry("blue")
    done = await api.call("POST", "/admin/switch", {"hold": {"timeout": "5s"}})
    assert done.json["held_milliseconds"] > 0


async def test_switches_are_counted_by_outcome(api: Server) -> None:
    await api.call("POST", "/admin/switch")
    await api.call("POST", "/admin/rollback")
    await api.call("POST", "/admin/switch", {"to": "blue"})
    await api.call("POST", "/admin/switch", {"to": "blue", "dry_run": True})
    api.stage.worker.carry("blue", in_flight=1)
    await api.call("POST", "/admin/switch", {"hold": "10ms"})
    assert api.desk.switches == {
        ("switch", "done"): 1,
        ("rollback", "done"): 1,
        ("switch", "refused"): 1,
        ("switch", "timed_out"): 1,
    }


async def test_canary(api: Server) -> None:
    body = {"weight": 10, "match": [{"header": "x-canary", "value": "1"}]}
    answer = await api.call("PUT", "/admin/canary", body)
    assert answer.json["canary"]["weight"] == 10
    canary = api.stage.worker.service().canary
    assert canary is not None
    assert canary.salt == answer.json["canary"]["salt"]
    dry = await api.call("PUT", "/admin/canary", {"weight": 20, "dry_run": True})
    assert (dry.json["allowed"], dry.json["canary"]["weight"]) == (True, 20)
    ended = await api.call("DELETE", "/admin/canary")
    assert ended.json["canary"] is None
    assert api.stage.worker.service().canary is None


@pytest.mark.parametrize("way", ["query", "body"])
async def test_the_canary_that_ends_is_named_in_the_query_or_the_body(shop: Server, way: str) -> None:
    await shop.call("PUT", "/admin/canary", {"service": "api", "weight": 5})
    if way == "query":
        answer = await shop.call("DELETE", "/admin/canary?service=api")
    else:
        answer = await shop.call("DELETE", "/admin/canary", {"service": "api"})
    assert (answer.status, answer.json["service"]) == (200, "api")


async def test_maintenance(api: Server) -> None:
    answer = await api.call("PUT", "/admin/maintenance", {"retry_after": "10m", "reason": "moving"})
    assert (answer.json["service"], answer.json["generation"]) == ("web", 2)
    assert answer.json["maintenance"] == {"retry_after": 600, "reason": "moving"}
    assert api.stage.worker.service().maintenance == Maintenance(600, "moving")
    assert (await api.stage.store.history())[0].reason == "moving"
    assert (await api.call("POST", "/admin/switch")).json["to"] == "green"
    assert api.stage.worker.service().maintenance == Maintenance(600, "moving")
    ended = await api.call("DELETE", "/admin/maintenance", {"reason": "done"})
    assert (ended.status, ended.json["maintenance"]) == (200, None)
    assert api.stage.worker.service().maintenance is None
    assert (await api.call("DELETE", "/admin/maintenance")).status == 409


async def test_a_maintenance_needs_nothing_said_and_nobody_healthy(api: Server) -> None:
    await api.stage.fail("web/blue/0", "web/green/0")
    assert (await api.call("PUT", "/admin/maintenance")).status == 200
    assert api.stage.worker.service().maintenance == Maintenance(60, "")


async def test_a_maintenance_is_guarded_as_every_change_is(api: Server) -> None:
    dry = await api.call("PUT", "/admin/maintenance", {"dry_run": True})
    assert (dry.json["would"], dry.json["allowed"]) == ("maintenance", True)
    assert (await api.call("PUT", "/admin/maintenance", {"if_generation": 9})).status == 409
    assert api.stage.worker.service().maintenance is None
    key = {"Idempotency-Key": "k"}
    await api.call("PUT", "/admin/maintenance", headers=key)
    await api.call("DELETE", "/admin/maintenance")
    again = await api.call("PUT", "/admin/maintenance", headers=key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert api.stage.worker.service().maintenance is None


@pytest.mark.parametrize("way", ["query", "body"])
async def test_a_group_is_maintained_as_one(shop: Server, way: str) -> None:
    answer = await shop.call("PUT", "/admin/maintenance", {"group": "all"})
    assert answer.json["services"] == ["web", "api"]
    assert all(shop.stage.worker.service(name).maintenance for name in ("web", "api"))
    if way == "query":
        ended = await shop.call("DELETE", "/admin/maintenance?group=all")
    else:
        ended = await shop.call("DELETE", "/admin/maintenance", {"group": "all"})
    assert ended.json["services"] == ["web", "api"]
    assert not any(shop.stage.worker.service(name).maintenance for name in ("web", "api"))
    assert (await shop.call("PUT", "/admin/maintenance", {"service": "web", "group": "all"})).status == 422
    assert (await shop.call("DELETE", "/admin/maintenance?service=x")).status == 404


async def test_hold_and_release(shop: Server) -> None:
    held = await shop.call("POST", "/admin/hold", {"group": "all", "timeout": "30s", "max_requests": 5})
    assert held.json["services"] == ["web", "api"]
    hold = shop.stage.worker.service("api").hold
    assert hold is not None
    assert hold.max_requests == 5
    again = await shop.call("POST", "/admin/hold", {"service": "web"})
    assert again.status == 409
    released = await shop.call("POST", "/admin/release-hold", {"group": "all"})
    assert released.json["released"] == 0
    assert shop.stage.worker.service("web").hold is None
    assert (await shop.call("POST", "/admin/release-hold", {"group": "all"})).status == 409


async def test_set_pool(api: Server) -> None:
    new = await api.stage.backend()
    path = "/admin/services/web/pools/green"
    answer = await api.call("PUT", path, {"upstreams": [new.address], "version": "v3"})
    assert (answer.json["pool"], answer.json["version"]) == ("green", "v3")
    assert of_health(api.stage.worker.service(), "green") == [Health.UNKNOWN]
    assert (await api.call("POST", "/admin/switch")).status == 409
    assert (
        await api.call("PUT", "/admin/services/web/pools/blue", {"upstreams": [new.address]})
    ).status == 409
    assert (await api.call("PUT", "/admin/services/web/pools/x", {"upstreams": []})).status == 404
    assert (await api.call("PUT", "/admin/services/x/pools/green", {"upstreams": []})).status == 404
    assert (await api.call("PUT", path, {"upstreams": ["nonsense"]})).status == 422
    assert (await api.call("PUT", path)).status == 422


async def test_drain(api: Server) -> None:
    await api.call("POST", "/admin/switch")
    answer = await api.call("POST", "/admin/services/web/drain")
    assert (answer.status, answer.json["pool"]) == (200, "blue")
    assert (await api.call("POST", "/admin/services/web/drain", {"pool": "green"})).status == 409
    assert (await api.call("POST", "/admin/services/x/drain")).status == 404


async def test_reload(api: Server) -> None:
    answer = await api.call("POST", "/admin/reload", {"reason": "more cores"})
    assert answer.json == {"generation": 2, "changed": ["workers changed"]}
    assert api.reloads[0].reason == "more cores"
    assert (await api.call("POST", "/admin/reload")).json == {"generation": 2, "changed": []}
    dry = await api.call("POST", "/admin/reload", {"dry_run": True})
    assert (dry.status, len(api.reloads)) == (422, 2)


async def test_upgrade(api: Server) -> None:
    answer = await api.call("POST", "/admin/upgrade")
    assert (answer.status, answer.json["pid"]) == (202, 4711)
    api.refusal = "another upgrade is under way"
    refused = await api.call("POST", "/admin/upgrade")
    assert (refused.status, refused.json["detail"]) == (409, api.refusal)
    assert (await api.call("POST", "/admin/upgrade", {"dry_run": True})).status == 422
