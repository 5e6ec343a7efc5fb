from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bgproxy.model import Config, Health, Policy, Upstream, WhenUnhealthy
from bgproxy.observability.events import EventLog
from bgproxy.switch import compose
from bgproxy.switch.compose import Member
from bgproxy.switch.roster import Roster, display

from .stage import CALL, PATIENCE_S, Stage, stage


def test_a_name_is_shown_with_the_address_behind_it() -> None:
    assert display(Member("web", "blue", "10.0.0.1:80", "10.0.0.1:80", 1)) == "10.0.0.1:80"
    assert display(Member("web", "blue", "app.test:80", "10.0.0.1:80", 1)) == "app.test:80 (10.0.0.1:80)"


async def test_upstreams_are_unknown_until_their_first_check() -> None:
    async with stage(healthy=False) as here:
        (proof,) = here.roster.proofs([("web", "green")])
        assert (proof.health, proof.reason) == (Health.UNKNOWN, "not checked yet")
        await here.check()
        (proof,) = here.roster.proofs([("web", "green")])
        assert proof.health is Health.HEALTHY


async def test_a_name_that_does_not_resolve_is_no_proof() -> None:
    def unresolvable(config: Config) -> Config:
        web = config.services["web"]
        green = replace(web.pools["green"], upstreams=(Upstream("nowhere.invalid:80"),))
        return replace(config, services={"web": replace(web, pools={**web.pools, "green": green})})

    async with stage(change=unresolvable) as here:
        (proof,) = here.roster.proofs([("web", "green")])
        assert (proof.upstream, proof.health) == ("nowhere.invalid:80", Health.UNKNOWN)
        assert "does not resolve" in proof.reason
        await here.until(lambda: bool(here.told("resolve")))
        assert "nowhere.invalid does not resolve" in here.told("resolve")[0].text


async def test_a_name_is_followed_to_its_address() -> None:
    def by_name(config: Config) -> Config:
        web = config.services["web"]
        (blue,) = web.pools["blue"].upstreams
        named = Upstream(blue.address.replace("127.0.0.1", "localhost"))
        pools = {**web.pools, "blue": replace(web.pools["blue"], upstreams=(named,))}
        return replace(config, services={"web": replace(web, pools=pools)})

    async with stage(change=by_name, healthy=False) as here:
        await here.until(lambda: bool(here.told("resolve")))
        await here.check()
        (proof,) = here.roster.proofs([("web", "blue")])
        port = here.backends["web/blue/0"].port
        assert proof.upstream == f"localhost:{port} (127.0.0.1:{port})"
        assert proof.health is Health.HEALTHY


async def test_who_takes_no_traffic_needs_no_proof(wide: Stage) -> None:
    first, second = (wide.backends[f"web/green/{number}"].address for number in (0, 1))
    spared = (Upstream(first), Upstream(second, 0))
    await wide.board.set_pool(CALL, "web", "green", None, spared, force=False)
    await wide.fail("web/green/1")
    assert [each.upstream for each in wide.roster.proofs([("web", "green")])] == [first]
    await wide.board.switch(CALL, ["web"])


async def test_changes_of_health_are_told_with_a_reason(web: Stage) -> None:
    await web.fail("web/green/0")
    event = web.told("health")[-1]
    assert event.service == "web"
    assert event.data == {
        "pool": "green",
        "upstream": web.backends["web/green/0"].address,
        "before": "healthy",
        "after": "unhealthy",
    }
    assert event.text.endswith(web.roster.proofs([("web", "green")])[0].reason)


async def test_that_nobody_of_the_active_pool_is_left_is_told_once(wide: Stage) -> None:
    await wide.fail("web/blue/0")
    assert not wide.told("all_unhealthy")
    await wide.fail("web/blue/1")
    (event,) = wide.told("all_unhealthy")
    assert event.service == "web"
    assert event.data == {"pool": "blue", "policy": "fail"}
    await wide.check()
    assert len(wide.told("all_unhealthy")) == 1


async def test_an_idle_pool_may_be_down(wide: Stage) -> None:
    await wide.fail("web/green/0", "web/green/1")
    assert not wide.told("all_unhealthy")


async def test_a_pool_is_not_down_while_somebody_of_it_has_not_been_checked() -> None:
    def policy(config: Config) -> Config:
        web = replace(config.services["web"], policy=Policy(when_unhealthy=WhenUnhealthy.TRY_ALL))
        return replace(config, services={"web": web})

    async with stage(upstreams=2, healthy=False, change=policy) as here:
        for number in (0, 1):
            await here.backends[f"web/blue/{number}"].close()
        await here.check()
        (event,) = here.told("all_unhealthy")
        assert event.data["policy"] == "try_all"


async def test_a_spare_upstream_does_not_count(wide: Stage) -> None:
    first, second = (wide.backends[f"web/blue/{number}"].address for number in (0, 1))
    spared = (Upstream(first), Upstream(second, 0))
    await wide.board.set_pool(CALL, "web", "blue", None, spared, force=True)
    await wide.fail("web/blue/0")
    assert len(wide.told("all_unhealthy")) == 1
    await wide.fail("web/blue/1")
    assert len(wide.told("all_unhealthy")) == 1


async def test_what_was_known_before_is_known_again_and_what_was_not_is_not(web: Stage) -> None:
    known = {"blue": Health.UNHEALTHY, "green": Health.UNKNOWN}
    before = compose.compose(
        web.config,
        web.board.desired,
        web.board.roster.members,
        lambda member: known[member.pool],
        {},
        lambda _: False,
    )
    successor = Roster(web.config, EventLog())
    successor.restore(before, now=1000.0)
    successor.follow(web.config, web.board.desired)
    blue, green = (successor.status(member).state for member in successor.members)
    await successor.close()
    assert (blue.health, blue.since, blue.reason) == (
        Health.UNHEALTHY,
        1000.0,
        "as known before the restart",
    )
    assert (green.health, green.reason) == (Health.UNKNOWN, "not checked yet")


async def test_it_waits_for_a_first_check_only_so_long() -> None:
    async def deaf(config: Config) -> Roster:
        roster = Roster(config, EventLog())
        roster.follow(config, compose.first(config))
        return roster

    async with stage(healthy=False) as here:
        roster = await deaf(here.config)
        await roster.until_known([("web", "blue")], 0.0)
        assert roster.health(roster.members[0]) is Health.UNKNOWN
        await roster.until_known([("web", "blue")], PATIENCE_S)
        assert roster.health(roster.members[0]) is Health.HEALTHY
        await roster.close()


@pytest.mark.parametrize("pool", ["blue", "green"])
async def test_members_follow_the_desired_state(web: Stage, pool: str) -> None:
    new = await web.backend()
    await web.board.set_pool(CALL, "web", pool, None, (Upstream(new.address),), force=True)
    assert [each.address for each in web.roster.members if each.pool == pool] == [new.address]


async def test_a_roster_that_is_closed_finds_nothing_out(web: Stage) -> None:
    """A reload that ends with the controller still asks for those who were there before it."""
    published = web.engine.sequence
    await web.roster.close()
    web.roster.follow(replace(web.config, workers=7), web.board.desired)
    await asyncio.sleep(0.1)
    assert web.engine.sequence == published
