from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from unittest import mock

import orjson
import pytest

from bgproxy.errors import Conflict, Invalid, NotFound, NotHealthy, StateError
from bgproxy.model import Canary, Health, Match, Pool, Service, Upstream
from bgproxy.shared_memory import slots
from bgproxy.switch.calls import HoldLimits
from bgproxy.switch.switchboard import Switchboard

from .stage import CALL, CHECK, PATIENCE_S, TEXT, Stage, of_health


async def test_a_switch_is_in_force_and_stored_when_it_is_answered(web: Stage) -> None:
    answer = await web.board.switch(CALL, ["web"])

    assert web.active() == "green"
    assert web.worker.now.generation == answer["generation"] == 2
    stored = await web.store.load()
    assert stored == web.board.desired
    assert stored is not None
    assert (stored.services["web"].active, stored.services["web"].previous) == ("green", "blue")
    assert (answer["from"], answer["to"], answer["service"], answer["forced"]) == (
        "blue",
        "green",
        "web",
        False,
    )


async def test_a_switch_is_in_the_history_with_who_and_why(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    entry = (await web.store.history())[0]
    assert (entry.action, entry.outcome, entry.actor, entry.reason) == ("switch", "done", "tester", "because")
    assert (entry.from_pool, entry.to_pool, entry.forced) == ("blue", "green", False)
    assert (entry.generation_from, entry.generation_to) == (1, 2)


async def test_what_is_called_sync_is_the_commit_and_nothing_after_it(
    web: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, took_s = web.board.publish, 0.2

    def publish_slowly() -> None:
        time.sleep(took_s)
        publish()

    monkeypatch.setattr(web.board, "publish", publish_slowly)
    answer = await web.board.switch(CALL, ["web"])
    assert answer["milliseconds"] - answer["sync_milliseconds"] >= took_s * 1000


async def test_a_switch_is_told_to_those_who_follow(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    (event,) = web.told("switch")
    assert event.service == "web"
    assert "blue → green by tester" in event.text
    assert (event.data["from"], event.data["to"], event.data["generation"]) == ("blue", "green", 2)


async def test_there_and_back_as_often_as_one_likes(web: Stage) -> None:
    for number in range(20):
        answer = await web.board.switch(CALL, ["web"])
        assert answer["generation"] == number + 2
        assert web.active() == ("green", "blue")[number % 2]


async def test_a_switch_to_what_is_active_is_a_conflict(web: Stage) -> None:
    with pytest.raises(Conflict, match="already the active pool"):
        await web.board.switch(CALL, ["web"], to="blue")


async def test_a_switch_is_refused_with_a_reason_for_every_upstream(wide: Stage) -> None:
    await wide.fail("web/green/0", "web/green/1")
    with pytest.raises(NotHealthy) as refused:
        await wide.board.switch(CALL, ["web"])

    told = refused.value.extra["upstreams"]
    assert isinstance(told, list)
    assert {each["upstream"] for each in told} == {
        wide.backends[name].address for name in ("web/green/0", "web/green/1")
    }
    assert all(each["reason"] and each["health"] is Health.UNHEALTHY for each in told)
    assert refused.value.extra["generation"] == 1
    assert wide.active() == "blue"


async def test_one_sick_upstream_of_two_is_enough_to_refuse_a_switch(wide: Stage) -> None:
    await wide.fail("web/green/1")
    with pytest.raises(NotHealthy, match=wide.backends["web/green/1"].address):
        await wide.board.switch(CALL, ["web"])


async def test_a_refusal_is_in_the_history_and_makes_no_generation(web: Stage) -> None:
    await web.fail("web/green/0")
    with pytest.raises(NotHealthy):
        await web.board.switch(CALL, ["web"])
    entry = (await web.store.history())[0]
    assert (entry.action, entry.outcome, entry.from_pool, entry.to_pool) == (
        "switch",
        "refused",
        "blue",
        "green",
    )
    assert (entry.generation_from, entry.generation_to) == (1, 1)
    assert web.told("switch")[0].data == {"outcome": "refused"}


async def test_force_switches_anyway_and_is_recorded(web: Stage) -> None:
    await web.fail("web/green/0")
    answer = await web.board.switch(CALL, ["web"], force=True)
    assert answer["forced"] is True
    assert web.active() == "green"
    assert (await web.store.history())[0].forced


async def test_a_rollback_needs_one_healthy_upstream_of_the_old_side_and_none_of_the_new(wide: Stage) -> None:
    await wide.board.switch(CALL, ["web"])
    await wide.fail("web/green/0", "web/green/1", "web/blue/1")

    answer = await wide.board.rollback(CALL, ["web"])

    assert answer["forced"] is False
    assert wide.active() == "blue"
    assert (await wide.store.history())[0].action == "rollback"


async def test_a_rollback_to_a_pool_where_nobody_is_healthy_is_refused(wide: Stage) -> None:
    await wide.board.switch(CALL, ["web"])
    await wide.fail("web/blue/0", "web/blue/1")
    with pytest.raises(NotHealthy):
        await wide.board.rollback(CALL, ["web"])
    assert wide.active() == "green"


async def test_there_is_nothing_to_roll_back_to_before_the_first_switch(web: Stage) -> None:
    with pytest.raises(Conflict, match="not been switched yet"):
        await web.board.rollback(CALL, ["web"])


# Guards


async def test_a_stale_generation_is_a_conflict_that_tells_the_present_one(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    with pytest.raises(Conflict, match="generation 2, not 1") as refused:
        await web.board.switch(replace(CALL, if_generation=1), ["web"])
    assert refused.value.extra["generation"] == 2
    await web.board.switch(replace(CALL, if_generation=2), ["web"])


async def test_a_generation_is_compared_again_when_the_change_gets_its_turn(shop: Stage) -> None:
    """Both find generation 1; the second is decided when it is no more."""
    guarded = replace(CALL, if_generation=1)
    first, second = await asyncio.gather(
        shop.board.switch(guarded, ["web"]), shop.board.switch(guarded, ["api"]), return_exceptions=True
    )
    assert isinstance(first, dict)
    assert isinstance(second, Conflict)
    assert (shop.active("web"), shop.active("api")) == ("green", "blue")


async def test_of_many_at_once_exactly_one_wins_and_the_others_learn_the_generation(web: Stage) -> None:
    outcomes = await asyncio.gather(
        *(web.board.switch(CALL, ["web"], to="green") for _ in range(20)), return_exceptions=True
    )
    won = [each for each in outcomes if isinstance(each, dict)]
    lost = [each for each in outcomes if isinstance(each, Conflict)]
    assert (len(won), len(lost)) == (1, 19)
    assert all(each.extra["generation"] in {1, 2} for each in lost)
    assert web.board.desired.generation == 2


async def test_changes_of_different_services_do_not_disturb_each_other(shop: Stage) -> None:
    answers = await asyncio.gather(shop.board.switch(CALL, ["web"]), shop.board.switch(CALL, ["api"]))
    assert sorted(each["generation"] for each in answers) == [2, 3]
    assert (shop.active("web"), shop.active("api")) == ("green", "green")
    assert shop.board.desired == await shop.store.load()


async def test_a_group_moves_in_one_publication_and_one_generation(shop: Stage) -> None:
    before = shop.engine.sequence
    answer = await shop.board.switch(CALL, ["web", "api"])
    assert shop.engine.sequence == before + 1
    assert answer["generation"] == 2
    assert {each["service"] for each in answer["services"]} == {"web", "api"}
    assert (answer["service"], answer["from"], answer["to"]) == (None, "blue", "green")
    assert (shop.active("web"), shop.active("api")) == ("green", "green")


async def test_a_group_moves_not_at_all_if_one_of_it_cannot(shop: Stage) -> None:
    await shop.fail("api/green/0")
    with pytest.raises(NotHealthy, match="api/green"):
        await shop.board.switch(CALL, ["web", "api"])
    assert (shop.active("web"), shop.active("api")) == ("blue", "blue")


async def test_a_store_that_fails_leaves_the_old_state_in_force_and_publishes_nothing(web: Stage) -> None:
    web.store.fails = True
    before, sequence = web.board.desired, web.engine.sequence
    changes = (
        web.board.switch(CALL, ["web"]),
        web.board.set_canary(CALL, "web", 10, ()),
        web.board.set_pool(CALL, "web", "green", None, (Upstream("127.0.0.1:1"),), force=False),
        web.board.drain(CALL, "web"),
        web.board.reconfigure(CALL, replace(web.config, workers=7), TEXT),
    )
    for change in changes:
        with pytest.raises(StateError):
            await change

    assert web.board.desired is before
    assert web.engine.sequence == sequence
    assert web.board.config is web.config
    assert not web.board.drains.is_draining("web")


async def test_after_a_failure_of_the_store_the_next_change_is_made(web: Stage) -> None:
    web.store.fails = True
    with pytest.raises(StateError):
        await web.board.switch(CALL, ["web"])
    web.store.fails = False
    assert (await web.board.switch(CALL, ["web"]))["generation"] == 2


async def test_a_caller_that_goes_away_leaves_no_state_that_is_stored_and_not_in_force(web: Stage) -> None:
    web.store.open.clear()
    change = asyncio.ensure_future(web.board.switch(CALL, ["web"]))
    await web.store.asked.wait()
    change.cancel()
    await asyncio.sleep(0)
    assert not change.done()
    web.store.open.set()
    with pytest.raises(asyncio.CancelledError):
        await change

    assert web.active() == "green"
    assert web.board.desired == await web.store.load()
    assert (await web.board.switch(CALL, ["web"]))["generation"] == 3


async def test_an_idempotent_change_is_stored_with_its_answer(web: Stage) -> None:
    answer = await web.board.switch(replace(CALL, key=("k", "fingerprint")), ["web"])
    stored = await web.store.idempotent("k")
    assert stored is not None
    assert (stored.fingerprint, stored.status) == ("fingerprint", 200)
    assert orjson.loads(stored.body).items() <= answer.items()


async def test_a_key_that_has_an_answer_changes_nothing(web: Stage) -> None:
    keyed = replace(CALL, key=("k", "fingerprint"))
    await web.board.switch(keyed, ["web"])
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await web.board.switch(keyed, ["web"])
    assert web.active() == "green"


# Dry runs


async def test_dry_runs_change_nothing(web: Stage) -> None:
    call = replace(CALL, dry_run=True)
    before = (web.board.desired, web.engine.sequence, await web.store.history(), web.events.since(0))
    upstreams = (Upstream("127.0.0.1:1"),)
    answers = [
        await web.board.switch(call, ["web"]),
        await web.board.set_canary(call, "web", 10, ()),
        await web.board.set_pool(call, "web", "green", "v3", upstreams, force=False),
        await web.board.drain(call, "web"),
        await web.board.hold(call, ["web"], HoldLimits()),
    ]

    assert [each["would"] for each in answers] == ["switch", "canary", "pool", "drain", "hold"]
    assert all(each["dry_run"] is True and each["allowed"] is True for each in answers)
    assert (web.board.desired, web.engine.sequence, await web.store.history(), web.events.since(0)) == before


async def test_a_dry_run_says_why_it_would_be_refused(web: Stage) -> None:
    await web.fail("web/green/0")
    history = await web.store.history()
    call = replace(CALL, dry_run=True)
    for answer in (
        await web.board.switch(call, ["web"]),
        await web.board.set_canary(call, "web", 1, ()),
    ):
        assert answer["allowed"] is False
        assert web.backends["web/green/0"].address in answer["refusal"]
    assert await web.store.history() == history


async def test_the_dry_run_of_a_release_of_a_hold_releases_nothing(web: Stage) -> None:
    await web.board.hold(CALL, ["web"], HoldLimits())
    answer = await web.board.release_hold(replace(CALL, dry_run=True), ["web"])
    assert (answer["dry_run"], answer["would"]) == (True, "release-hold")
    assert web.worker.service().hold is not None


# Canary


async def test_a_canary_with_rules_is_told_to_the_engine(web: Stage) -> None:
    rules = (Match("header", "x-canary", "1"), Match("cookie", "beta", "yes"))
    answer = await web.board.set_canary(CALL, "web", 25, rules)
    canary = web.worker.service().canary
    assert canary == Canary(25, rules, answer["canary"]["salt"])
    assert answer["canary"]["match"] == [
        {"header": "x-canary", "value": "1"},
        {"cookie": "beta", "value": "yes"},
    ]
    assert web.active() == "blue"


async def test_a_canary_that_grows_keeps_its_clients_and_a_new_one_does_not(web: Stage) -> None:
    first = await web.board.set_canary(CALL, "web", 1, ())
    second = await web.board.set_canary(CALL, "web", 50, ())
    await web.board.end_canary(CALL, "web")
    third = await web.board.set_canary(CALL, "web", 1, ())
    assert first["canary"]["salt"] == second["canary"]["salt"] != third["canary"]["salt"]


async def test_a_canary_needs_a_proven_idle_pool(web: Stage) -> None:
    await web.fail("web/green/0")
    for weight, rules in ((1, ()), (0, (Match("query", "beta", "1"),))):
        with pytest.raises(NotHealthy):
            await web.board.set_canary(CALL, "web", weight, rules)
    assert web.worker.service().canary is None
    assert (await web.store.history())[0].outcome == "refused"


async def test_the_force_of_a_canary_is_recorded(web: Stage) -> None:
    await web.fail("web/green/0")
    await web.board.set_canary(CALL, "web", 5, (), force=True)
    entry = (await web.store.history())[0]
    assert (entry.action, entry.forced, entry.to_pool) == ("canary", True, "green")


async def test_a_switch_ends_the_canary(web: Stage) -> None:
    await web.board.set_canary(CALL, "web", 25, ())
    await web.board.switch(CALL, ["web"])
    assert web.worker.service().canary is None


async def test_a_canary_that_is_not_there_cannot_be_ended(web: Stage) -> None:
    with pytest.raises(Conflict, match="has no canary"):
        await web.board.end_canary(CALL, "web")


# Pools


async def test_new_upstreams_are_unknown_and_nothing_switches_to_them_before_a_check_has_passed(
    web: Stage,
) -> None:
    new = await web.backend()
    answer = await web.board.set_pool(CALL, "web", "green", "v3", (Upstream(new.address),), force=False)
    assert (answer["pool"], answer["version"]) == ("green", "v3")
    assert of_health(web.worker.service(), "green") == [Health.UNKNOWN]
    with pytest.raises(NotHealthy, match="unknown"):
        await web.board.switch(CALL, ["web"])

    await web.check()
    await web.board.switch(CALL, ["web"])
    assert web.worker.service().active.version == "v3"
    assert [each.address for each in web.worker.service().active.upstreams] == [new.address]


async def test_the_version_of_a_pool_stays_if_nobody_says_another(web: Stage) -> None:
    new = await web.backend()
    answer = await web.board.set_pool(CALL, "web", "green", None, (Upstream(new.address),), force=False)
    assert answer["version"] == "v2"


async def test_the_active_pool_is_changed_with_force_only(web: Stage) -> None:
    new = await web.backend()
    with pytest.raises(Conflict, match="is the active pool"):
        await web.board.set_pool(CALL, "web", "blue", None, (Upstream(new.address),), force=False)
    await web.board.set_pool(CALL, "web", "blue", None, (Upstream(new.address),), force=True)
    assert [each.address for each in web.worker.service().active.upstreams] == [new.address]
    assert (await web.store.history())[0].forced


async def test_a_pool_that_carries_a_canary_is_changed_with_force_only(web: Stage) -> None:
    new = (Upstream((await web.backend()).address),)
    await web.board.set_canary(CALL, "web", 10, ())
    with pytest.raises(Conflict, match="end the canary first"):
        await web.board.set_pool(CALL, "web", "green", None, new, force=False)
    await web.board.set_pool(CALL, "web", "green", None, new, force=True)
    await web.board.set_canary(CALL, "web", 0, ())
    await web.board.set_pool(CALL, "web", "green", None, new, force=False)


@pytest.mark.parametrize(
    ("pool", "addresses", "error", "text"),
    [
        ("green", ["nonsense"], Invalid, "has no port"),
        ("green", ["127.0.0.1:80", "127.0.0.1:80"], Invalid, "twice"),
        ("green", ["APP.test:80", "app.test:80"], Invalid, "twice"),
        ("purple", ["127.0.0.1:80"], NotFound, "no pool 'purple': choose one of blue, green"),
    ],
)
async def test_a_pool_that_cannot_be_is_refused(
    web: Stage, pool: str, addresses: list[str], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await web.board.set_pool(
            CALL, "web", pool, None, tuple(Upstream(each) for each in addresses), force=False
        )
    assert web.board.desired.generation == 1


# Holds by hand


async def test_a_hold_is_on_until_it_is_released(web: Stage) -> None:
    answer = await web.board.hold(CALL, ["web"], HoldLimits(60.0, 7, 999))
    hold = web.worker.service().hold
    assert hold is not None
    assert (hold.id, hold.max_requests, hold.max_bytes) == (answer["hold"], 7, 999)
    assert hold.until > answer["until"]
    web.worker.park(3)

    released = await web.board.release_hold(CALL, ["web"])

    assert released["released"] == 3
    assert web.worker.service().hold is None
    assert [entry.action for entry in await web.store.history()][:2] == ["release-hold", "hold"]


async def test_a_hold_ends_by_itself(web: Stage) -> None:
    await web.board.hold(CALL, ["web"], HoldLimits(0.01))
    await web.until(lambda: any("its time is up" in each.text for each in web.told("hold")))
    assert web.worker.service().hold is None


async def test_what_is_held_is_not_held_twice_and_what_is_not_is_not_released(web: Stage) -> None:
    with pytest.raises(Conflict, match="nothing is held"):
        await web.board.release_hold(CALL, ["web"])
    await web.board.hold(CALL, ["web"], HoldLimits())
    with pytest.raises(Conflict, match="already held"):
        await web.board.hold(CALL, ["web"], HoldLimits())


async def test_a_hold_that_cannot_be_written_down_does_not_begin(web: Stage) -> None:
    await web.store.close()
    with pytest.raises(StateError):
        await web.board.hold(CALL, ["web"], HoldLimits())
    assert web.worker.service().hold is None


# Drain


async def test_a_drain_by_hand_is_due_at_once(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    web.worker.carry("blue", tunnels=2)
    later = web.worker.service().drain_until
    answer = await web.board.drain(CALL, "web")
    now = web.worker.service().drain_until
    assert answer["pool"] == "blue"
    assert later is not None
    assert now is not None
    assert now < later


async def test_the_active_pool_does_not_drain(web: Stage) -> None:
    with pytest.raises(Conflict, match="is the active pool"):
        await web.board.drain(CALL, "web", "blue")
    with pytest.raises(NotFound):
        await web.board.drain(CALL, "web", "purple")
    assert (await web.board.drain(CALL, "web", "green"))["pool"] == "green"


# Configuration


async def test_another_configuration_keeps_the_active_pools(web: Stage) -> None:
    await web.board.switch(CALL, ["web"])
    extra = Service(
        "extra", {"a": Pool(upstreams=(Upstream("127.0.0.1:1"),)), "b": Pool()}, "a", health=CHECK
    )
    config = replace(web.config, services={**web.config.services, "extra": extra}, workers=3)

    changed = await web.board.reconfigure(CALL, config, TEXT)

    assert changed == ["service extra added", "workers changed"]
    assert (web.active("web"), web.active("extra")) == ("green", "a")
    assert web.worker.now.generation == 3
    assert (await web.store.history())[0].action == "reload"


async def test_the_same_configuration_changes_nothing(web: Stage) -> None:
    assert await web.board.reconfigure(CALL, web.config, TEXT) == []
    assert web.board.desired.generation == 1


async def test_what_a_configuration_needs_is_done_before_its_commit_and_not_if_it_is_refused(
    wide: Stage,
) -> None:
    prepared: list[int] = []

    async def prepare() -> None:
        prepared.append(wide.board.desired.generation)

    nobody = {"blue": Pool(upstreams=(Upstream("127.0.0.1:1"),)), "green": Pool()}
    services = {"web": replace(wide.config.services["web"], pools=nobody)}
    with pytest.raises(NotHealthy):
        await wide.board.reconfigure(CALL, replace(wide.config, services=services), TEXT, prepare)
    assert prepared == []
    await wide.board.reconfigure(CALL, replace(wide.config, workers=3), TEXT, prepare)
    assert prepared == [1]


async def test_more_upstreams_than_can_be_published_are_refused_before_the_commit(web: Stage) -> None:
    many = tuple(Upstream(f"127.0.0.1:{port}") for port in range(1, 9))
    with (
        mock.patch.object(slots, "RECORDS", 8),
        pytest.raises(Conflict, match="9 upstreams of 1 services are more than"),
    ):
        await web.board.set_pool(CALL, "web", "green", None, many, force=False)
    assert web.board.desired.generation == 1
    assert len(await web.store.history()) == 1
    await web.board.switch(CALL, ["web"])
    assert web.active("web") == "green"


async def test_no_configuration_is_applied_in_the_middle_of_a_change(web: Stage) -> None:
    web.store.open.clear()
    change = asyncio.ensure_future(web.board.switch(CALL, ["web"]))
    await web.store.asked.wait()
    with pytest.raises(Conflict, match="under way"):
        await web.board.reconfigure(CALL, replace(web.config, workers=3), TEXT)
    web.store.open.set()
    await change


# Publishing


async def test_health_changes_of_one_turn_are_published_once(wide: Stage) -> None:
    before = wide.engine.sequence
    for _ in range(5):
        wide.board.publish_soon()
    assert wide.engine.sequence == before
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wide.engine.sequence == before + 1


async def test_a_publication_takes_those_along_that_were_to_come_soon(wide: Stage) -> None:
    before = wide.engine.sequence
    wide.board.publish_soon()
    wide.board.publish()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wide.engine.sequence == before + 1


async def test_a_change_of_health_reaches_the_workers(wide: Stage) -> None:
    await wide.fail("web/blue/1")
    await wide.until(lambda: of_health(wide.worker.service(), "blue").count(Health.UNHEALTHY) == 1)
    await wide.backends["web/blue/1"].open()
    await wide.check()
    async with asyncio.timeout(PATIENCE_S):
        while of_health(wide.worker.service(), "blue") != [Health.HEALTHY] * 2:
            await wide.engine.news()


async def test_nothing_is_published_before_the_start(web: Stage) -> None:
    before = web.engine.sequence
    board = Switchboard(web.config, web.board.desired, web.store, web.engine, web.roster, web.events)
    board.publish()
    board.publish_soon()
    await asyncio.sleep(0)
    assert web.engine.sequence == before
    board.start()
    assert web.engine.sequence == before + 1
