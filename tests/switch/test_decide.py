from __future__ import annotations

from dataclasses import replace

import pytest

from bgproxy.errors import Conflict, Invalid, NotFound, NotHealthy
from bgproxy.model import (
    Canary,
    Config,
    Desired,
    Health,
    Maintenance,
    Match,
    Pool,
    Service,
    ServiceState,
    Upstream,
)
from bgproxy.switch import decide
from bgproxy.switch.decide import Move, Proof


def service(name: str) -> Service:
    return Service(name, {"blue": Pool("v1"), "green": Pool("v2")}, "blue", drain_timeout_s=30.0)


ONE = Config({"web": service("web")}, listeners=())
TWO = Config({"web": service("web"), "api": service("api")}, listeners=(), groups={"shop": ("web", "api")})
DESIRED = Desired(7, {"web": ServiceState("blue"), "api": ServiceState("green", "blue")})


def of_web(**changes: object) -> Desired:
    return Desired(7, {**DESIRED.services, "web": replace(DESIRED.services["web"], **changes)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "service", "group", "names"),
    [
        (ONE, None, None, ("web",)),
        (TWO, "api", None, ("api",)),
        (TWO, None, "shop", ("web", "api")),
    ],
)
def test_whom_a_call_is_about(
    config: Config, service: str | None, group: str | None, names: tuple[str, ...]
) -> None:
    assert decide.name_services(config, service, group) == names


@pytest.mark.parametrize(
    ("config", "service", "group", "error", "text"),
    [
        (TWO, None, None, Invalid, "say which service: choose one of api, web"),
        (TWO, "web", "shop", Invalid, "not both"),
        (TWO, "x", None, NotFound, "no service 'x': choose one of api, web"),
        (TWO, None, "x", NotFound, "no group 'x': choose one of shop"),
        (ONE, None, "x", NotFound, "no group is configured"),
    ],
)
def test_nobody_is_guessed(
    config: Config, service: str | None, group: str | None, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        decide.name_services(config, service, group)


def test_a_switch_goes_to_the_idle_pool_or_to_the_one_that_is_named() -> None:
    assert decide.moves(TWO, DESIRED, ["web"], None) == [Move("web", "blue", "green")]
    assert decide.moves(TWO, DESIRED, ["api"], None) == [Move("api", "green", "blue")]
    assert decide.moves(TWO, DESIRED, ["web"], "green") == [Move("web", "blue", "green")]


def test_a_group_goes_the_same_way_or_is_told_where() -> None:
    """Toggling each service would leave a group split that was split before."""
    with pytest.raises(Conflict, match="web on blue, api on green") as refused:
        decide.moves(TWO, DESIRED, ["web", "api"], None)
    assert refused.value.extra == {"generation": 7}
    assert decide.moves(TWO, DESIRED, ["web", "api"], "green") == [Move("web", "blue", "green")]


def test_a_switch_to_nowhere_and_one_to_where_traffic_is_are_refused() -> None:
    with pytest.raises(NotFound, match="service web has no pool 'x': choose one of blue, green"):
        decide.moves(TWO, DESIRED, ["web"], "x")
    with pytest.raises(Conflict, match="green is already the active pool of api") as refused:
        decide.moves(TWO, DESIRED, ["api"], "green")
    assert refused.value.extra == {"generation": 7}


def test_a_rollback_goes_to_the_pool_before() -> None:
    assert decide.moves_back(DESIRED, ["api"]) == [Move("api", "green", "blue")]
    for state in (of_web(), of_web(previous="blue")):
        with pytest.raises(Conflict, match="nothing to roll back to"):
            decide.moves_back(state, ["web"])


# Proof

TARGET = ("web", "green")


def proofs(*healths: Health) -> list[Proof]:
    return [Proof("web", "green", f"u{number}", each, "why") for number, each in enumerate(healths)]


H, U, X = Health.HEALTHY, Health.UNKNOWN, Health.UNHEALTHY


@pytest.mark.parametrize(
    ("healths", "switch", "rollback"),
    [
        ((H,), True, True),
        ((H, H), True, True),
        ((H, U), False, True),
        ((H, X), False, True),
        ((U,), False, False),
        ((X, U), False, False),
        ((), False, False),
    ],
)
def test_a_switch_needs_all_and_a_rollback_one(
    healths: tuple[Health, ...], switch: bool, rollback: bool
) -> None:
    for is_rollback, allowed in ((False, switch), (True, rollback)):
        if allowed:
            decide.require_proof(proofs(*healths), [TARGET], rollback=is_rollback)
        else:
            with pytest.raises(NotHealthy):
                decide.require_proof(proofs(*healths), [TARGET], rollback=is_rollback)


def test_a_refusal_names_everybody_who_is_not_healthy_and_nobody_else() -> None:
    with pytest.raises(NotHealthy) as refused:
        decide.require_proof(proofs(H, X, U), [TARGET], rollback=False)
    assert refused.value.extra["upstreams"] == [
        {"service": "web", "pool": "green", "upstream": "u1", "health": "unhealthy", "reason": "why"},
        {"service": "web", "pool": "green", "upstream": "u2", "health": "unknown", "reason": "why"},
    ]
    assert "web/green u1: unhealthy (why); web/green u2: unknown (why)" in refused.value.detail


def test_a_pool_without_upstreams_says_so() -> None:
    with pytest.raises(NotHealthy, match="the pool has no upstreams"):
        decide.require_proof(proofs(H), [TARGET, ("api", "blue")], rollback=True)


# States


def test_a_switch_makes_one_generation_of_all_its_services() -> None:
    before = of_web(canary=Canary(10), pools={"green": Pool("v3")})
    planned = [Move("web", "blue", "green"), Move("api", "green", "blue")]
    after = decide.switched(TWO, before, planned, now=100.0)
    assert after == Desired(
        8,
        {
            "web": ServiceState(
                "green", "blue", None, {"green": Pool("v3")}, drain_until=130.0, generation=8
            ),
            "api": ServiceState("blue", "green", drain_until=130.0, generation=8),
        },
    )
    assert before.generation == 7


def test_a_canary_of_one_release_keeps_its_salt() -> None:
    first = decide.with_canary(DESIRED, "web", 1, ())
    canary = first.services["web"].canary
    assert canary is not None
    assert canary.salt
    match = (Match("header", "a", "b"),)
    second = decide.with_canary(first, "web", 50, match)
    assert second.services["web"].canary == Canary(50, match, canary.salt)
    assert decide.with_canary(DESIRED, "web", 1, ()) != first
    assert second.services["api"] is DESIRED.services["api"]


def test_a_maintenance_makes_one_generation_of_all_its_services_and_changes_nothing_else() -> None:
    before = Desired(4, {"web": ServiceState("green", "blue", Canary(5)), "api": ServiceState("blue")})
    after = decide.with_maintenance(TWO, before, ["web", "api"], Maintenance(9))
    assert after == Desired(
        5,
        {
            "web": ServiceState("green", "blue", Canary(5), maintenance=Maintenance(9), generation=5),
            "api": ServiceState("blue", maintenance=Maintenance(9), generation=5),
        },
    )
    ended = decide.without_maintenance(after, ["api"])
    assert ended.services["api"] == ServiceState("blue", generation=6)
    assert ended.services["web"] == after.services["web"]


def test_the_end_of_a_canary() -> None:
    after = decide.without_canary(of_web(canary=Canary(10)), "web")
    assert after.services["web"] == ServiceState("blue", generation=8)
    with pytest.raises(Conflict, match="web has no canary"):
        decide.without_canary(DESIRED, "web")


NEW = (Upstream("10.0.0.9:80"),)


def with_pool(desired: Desired, name: str, *, version: str | None = None, force: bool = False) -> Desired:
    return decide.with_pool(desired, service("web"), name, version, NEW, force=force)


def test_a_pool_gets_other_upstreams_and_the_version_that_is_said() -> None:
    state = with_pool(DESIRED, "green", version="v9").services["web"]
    assert state.pools == {"green": Pool("v9", NEW)}
    assert state.generation == 8
    assert with_pool(DESIRED, "green").services["web"].pools["green"].version == "v2"
    set_before = of_web(pools={"green": Pool("v5")})
    assert with_pool(set_before, "green").services["web"].pools["green"].version == "v5"


@pytest.mark.parametrize(
    ("state", "pool"),
    [
        (of_web(), "blue"),
        (of_web(canary=Canary(1)), "green"),
        (of_web(canary=Canary(0, (Match("header", "a", "b"),))), "green"),
    ],
)
def test_a_pool_with_traffic_is_changed_with_force_only(state: Desired, pool: str) -> None:
    with pytest.raises(Conflict, match="force"):
        with_pool(state, pool)
    assert with_pool(state, pool, force=True).services["web"].pools[pool].upstreams == NEW


def test_a_pool_that_is_not_there_is_not_changed() -> None:
    with pytest.raises(NotFound, match="no pool 'x'"):
        with_pool(DESIRED, "x", force=True)


def test_addresses_are_written_in_one_way() -> None:
    given = [Upstream("APP.Test:80", 3), Upstream("[2001:0db8::1]:80"), Upstream("unix:/run/a.sock")]
    assert decide.placed(given) == (
        Upstream("app.test:80", 3),
        Upstream("[2001:db8::1]:80"),
        Upstream("unix:/run/a.sock"),
    )


@pytest.mark.parametrize(
    ("addresses", "text"),
    [(["app"], "has no port"), (["a.test:80", "b.test:80", "A.test:80"], r"a\.test:80 stands twice")],
)
def test_addresses_that_cannot_be_are_refused(addresses: list[str], text: str) -> None:
    with pytest.raises(Invalid, match=text):
        decide.placed(Upstream(each) for each in addresses)


def test_what_drains_is_the_idle_pool() -> None:
    assert decide.drainable(DESIRED, service("web"), None) == "green"
    assert decide.drainable(DESIRED, service("api"), "blue") == "blue"
    with pytest.raises(Conflict, match="blue is the active pool of web: switch to green first"):
        decide.drainable(DESIRED, service("web"), "blue")
    with pytest.raises(NotFound):
        decide.drainable(DESIRED, service("web"), "x")


def test_a_drain_that_is_due_now() -> None:
    state = decide.drained_now(of_web(drain_until=500.0), "web", 100.0).services["web"]
    assert (state.drain_until, state.generation) == (100.0, 8)
