from __future__ import annotations

from dataclasses import replace

from bgproxy.model import (
    Canary,
    Config,
    Desired,
    Health,
    Hold,
    Pool,
    Service,
    ServiceState,
    Snapshot,
    Upstream,
)
from bgproxy.switch import compose
from bgproxy.switch.compose import Member


def service(name: str = "web", *, active: str = "blue") -> Service:
    return Service(
        name,
        {
            "blue": Pool("v1", (Upstream("10.0.0.1:80", 2),)),
            "green": Pool("v2", (Upstream("app.test:80"),)),
        },
        active,
    )


CONFIG = Config({"web": service()}, listeners=())
FIRST = compose.first(CONFIG)
SET = Pool("v3", (Upstream("10.0.0.9:80"),))


def snapshot(desired: Desired, *, draining: bool = False, hold: Hold | None = None) -> Snapshot:
    present = tuple(compose.members(CONFIG, desired, lambda name: (name,)))
    holds = {} if hold is None else {"web": hold}
    return compose.compose(CONFIG, desired, present, lambda _: Health.HEALTHY, holds, lambda _: draining)


def with_state(state: ServiceState) -> Desired:
    return Desired(4, {"web": state})


def test_a_name_is_as_many_members_as_it_has_addresses() -> None:
    known = {"10.0.0.1:80": ("10.0.0.1:80",), "app.test:80": ("10.1.0.1:80", "10.1.0.2:80")}
    found = list(compose.members(CONFIG, FIRST, known.__getitem__))
    assert found == [
        Member("web", "blue", "10.0.0.1:80", "10.0.0.1:80", 2),
        Member("web", "green", "app.test:80", "10.1.0.1:80", 1),
        Member("web", "green", "app.test:80", "10.1.0.2:80", 1),
    ]


def test_a_name_that_does_not_resolve_yet_has_no_members() -> None:
    found = compose.members(CONFIG, FIRST, lambda name: () if name.startswith("app") else (name,))
    assert [member.pool for member in found] == ["blue"]


def test_pools_are_where_the_desired_state_has_them() -> None:
    (view,) = snapshot(with_state(ServiceState("green", "blue"))).services
    assert (view.active.name, view.active.version) == ("green", "v2")
    assert (view.idle.name, view.idle.version) == ("blue", "v1")
    assert [(each.address, each.weight, each.health) for each in view.idle.upstreams] == [
        ("10.0.0.1:80", 2, Health.HEALTHY)
    ]


def test_what_was_set_through_the_api_counts_more_than_the_configuration() -> None:
    (view,) = snapshot(with_state(ServiceState("blue", pools={"green": SET}))).services
    assert view.idle.version == "v3"
    assert [each.address for each in view.idle.upstreams] == ["10.0.0.9:80"]
    assert view.active.version == "v1"


def test_canary_and_hold_are_told() -> None:
    canary, hold = Canary(5, salt="s"), Hold(1, 2.0, 3, 4)
    (view,) = snapshot(with_state(ServiceState("blue", canary=canary)), hold=hold).services
    assert (view.canary, view.hold) == (canary, hold)


def test_a_drain_is_told_while_it_goes_on() -> None:
    desired = with_state(ServiceState("green", "blue", drain_until=9.0))
    assert snapshot(desired, draining=True).services[0].drain_until == 9.0
    assert snapshot(desired, draining=False).services[0].drain_until is None


def test_the_generation_is_that_of_the_desired_state() -> None:
    assert snapshot(with_state(ServiceState("blue"))).generation == 4


def test_the_first_state_is_as_configured() -> None:
    config = replace(CONFIG, services={"web": service(active="green")})
    assert compose.first(config) == Desired(0, {"web": ServiceState("green")})


# Under another configuration


def test_a_service_that_stays_keeps_its_active_pool() -> None:
    state = ServiceState("green", "blue", Canary(5), generation=3)
    after = replace(CONFIG, services={"web": replace(service(), hosts=("new.test",))})
    assert compose.reconcile(with_state(state), after, CONFIG) == with_state(state)


def test_services_come_and_go() -> None:
    other = replace(service("api", active="green"), hosts=("api.test",))
    after = Config({"api": other}, listeners=())
    assert compose.reconcile(FIRST, after, CONFIG).services == {"api": ServiceState("green")}


def test_a_service_under_another_name_is_still_the_same() -> None:
    """Or a rename in the file would move its traffic."""
    desired = with_state(ServiceState("green", "blue", pools={"green": SET}))
    after = Config({"www": service("www", active="blue")}, listeners=())
    assert compose.reconcile(desired, after, CONFIG).services == {"www": desired.services["web"]}


def test_another_label_for_the_same_upstreams_leaves_what_was_set() -> None:
    desired = with_state(ServiceState("blue", pools={"green": SET}))
    labelled = replace(
        service(), pools={**service().pools, "green": replace(service().pools["green"], version="v9")}
    )
    after = replace(CONFIG, services={"web": labelled})
    assert compose.reconcile(desired, after, CONFIG).services["web"].pools == {"green": SET}


def test_a_pool_that_was_set_stays_so_until_its_own_configuration_changes() -> None:
    desired = with_state(ServiceState("blue", pools={"green": SET}))
    blue, green = service().pools["blue"], service().pools["green"]
    other_blue = replace(service(), pools={"blue": SET, "green": green})
    other_green = replace(service(), pools={"blue": blue, "green": Pool("v4")})

    def pools(after: Service, before: Config | None) -> dict[str, Pool]:
        config = replace(CONFIG, services={"web": after})
        return compose.reconcile(desired, config, before).services["web"].pools

    assert pools(other_blue, CONFIG) == {"green": SET}
    assert pools(other_green, CONFIG) == {}
    assert pools(other_green, None) == {"green": SET}


def test_a_service_whose_active_pool_is_gone_begins_anew() -> None:
    renamed = replace(service(), pools={"a": Pool(), "b": Pool()}, active="b")
    after = replace(CONFIG, services={"web": renamed})
    assert compose.reconcile(FIRST, after, CONFIG).services["web"] == ServiceState("b")


def test_there_is_no_way_back_to_a_pool_that_is_gone() -> None:
    renamed = replace(service(), pools={"green": Pool(), "teal": Pool()}, active="teal")
    state = ServiceState("green", "blue")
    after = replace(CONFIG, services={"web": renamed})
    assert compose.reconcile(with_state(state), after, CONFIG).services["web"] == ServiceState("green")
