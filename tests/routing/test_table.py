from __future__ import annotations

from dataclasses import replace

import pytest

from bgproxy.model import Balance, Health, Limits, Outlier, Preview, Protocol, Snapshot
from bgproxy.routing.balance import LiveUpstream
from bgproxy.routing.table import HOST_MEMORY, Route, Routes, Table, without_port
from bgproxy.shared_memory.counters import EJECTED, EJECTIONS, count_ejection
from tests.routing.snapshots import canary, live_service, pool, record, service, table, with_health

SHOP = table(
    service("exact", hosts=("app.example.com",), paths=("/only",)),
    service("wildcard", hosts=("*.example.com",)),
    service("deeper", hosts=("*.app.example.com",)),
    service("v6", hosts=("[2001:db8::1]",)),
    service("api", hosts=("paths.test",), paths=("/api/",)),
    service("v2", hosts=("paths.test",), paths=("/api/v2", "/v2")),
    service("any", paths=("/any", "/deep/er")),
)


def found(in_table: Table, host: bytes, target: bytes = b"/") -> str | None:
    route = in_table.find(host, target)
    return None if route is None else route.service.view.name


@pytest.mark.parametrize(
    ("host", "target", "name"),
    [
        (b"app.example.com", b"/only", "exact"),
        (b"app.example.com:8080", b"/only/x", "exact"),
        (b"app.example.com.", b"/only", "exact"),
        (b"app.example.com.:80", b"/only", "exact"),
        (b"other.example.com", b"/only", "wildcard"),
        (b"a.b.example.com:1", b"/", "wildcard"),
        (b"x.app.example.com", b"/", "deeper"),
        (b"y.x.app.example.com", b"/", "deeper"),
        (b"example.com", b"/", None),
        (b"notexample.com", b"/", None),
        (b"[2001:db8::1]", b"/", "v6"),
        (b"[2001:db8::1]:443", b"/", "v6"),
        (b"[2001:db8::2]", b"/", None),
        (b"[2001:db8::2]", b"/any", "any"),
        (b"", b"/any", "any"),
        (b"unknown", b"/any", "any"),
    ],
)
def test_the_most_exact_host_wins(host: bytes, target: bytes, name: str | None) -> None:
    assert found(SHOP, host, target) == name
    assert found(SHOP, host, target) == name, "remembered"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/api", "api"),
        (b"/api/", "api"),
        (b"/api//x", "api"),
        (b"/api?x=/v2", "api"),
        (b"/api/v1/v2", "api"),
        (b"/api/v2x", "api"),
        (b"/api/v2", "v2"),
        (b"/api/v2/", "v2"),
        (b"/api/v2/x/y", "v2"),
        (b"/api/v2?x", "v2"),
        (b"/v2/api", "v2"),
        (b"/apix", None),
        (b"/ap", None),
        (b"/", None),
        (b"//api", None),
        (b"/v", None),
        (b"/API", None),
        (b"*", None),
        (b"/x/api/v2", None),
    ],
)
def test_the_longest_prefix_that_ends_with_a_segment_wins(target: bytes, name: str | None) -> None:
    assert found(SHOP, b"paths.test", target) == name


@pytest.mark.parametrize(
    ("host", "target", "name"),
    [
        (b"app.example.com", b"/other", "wildcard"),
        (b"paths.test", b"/any", "any"),
        (b"paths.test", b"/deep/er/x", "any"),
        (b"paths.test", b"/deep", None),
        (b"app.example.com", b"/any", "wildcard"),
    ],
)
def test_a_host_without_such_a_path_leaves_the_request_to_the_next_one(
    host: bytes, target: bytes, name: str | None
) -> None:
    assert found(SHOP, host, target) == name


def test_a_service_for_everything_gets_everything() -> None:
    only = table(service("web"))
    for target in (b"/", b"*", b"/a/b?c", b"//"):
        assert found(only, b"any.host:1", target) == "web"


def test_nothing_is_found_where_nothing_is_served() -> None:
    assert table().find(b"a", b"/") is None


def test_a_preview_host_leads_to_the_preview_of_the_same_paths() -> None:
    preview = Preview(hosts=("preview.example.com",))
    shop = table(service("web", hosts=("app.example.com",), paths=("/a",), preview=preview))
    route = shop.find(b"preview.example.com:80", b"/a/b")
    assert route is not None
    assert route.preview
    assert shop.find(b"preview.example.com", b"/b") is None
    live_route = shop.find(b"app.example.com", b"/a")
    assert live_route is not None
    assert not live_route.preview


@pytest.mark.parametrize(
    ("host", "name"),
    [(b"a", b"a"), (b"a:", b"a"), (b"a:80", b"a"), (b"a.:80", b"a"), (b"[::1]:80", b"[::1]"), (b"", b"")],
)
def test_a_port_and_a_final_dot_do_not_belong_to_a_name(host: bytes, name: bytes) -> None:
    assert without_port(host) == name


def test_hosts_that_clients_make_up_are_remembered_in_bounded_memory() -> None:
    shop = table(service("web", hosts=("*.example.com",)))
    for number in range(2 * HOST_MEMORY + 10):
        assert found(shop, b"h%d.example.com" % number) == "web"
        assert found(shop, b"h%d.unknown" % number) is None
        assert len(shop._memory) <= HOST_MEMORY


@pytest.mark.interpreted
def test_segments_behind_the_longest_prefix_cost_nothing() -> None:
    """Or a client could make every request of an 8 KiB path cost thousands of look-ups."""

    class Counting(dict[bytes, Route]):
        looked_up = 0

        def get(self, *args: object) -> Route | None:  # type: ignore[override]
            Counting.looked_up += 1
            return super().get(*args)  # type: ignore[call-overload, no-any-return]

    routes = Routes()
    routes.add(b"/api/v1", Route(live_service(), preview=False))
    routes._by_prefix = Counting(routes._by_prefix)
    assert routes.find(b"/a" * 4000) is None
    assert routes.find(b"/" * 8000) is None
    assert routes.find(b"/api/v1" + b"/a" * 4000) is not None
    assert Counting.looked_up < 30


# --- from one snapshot to the next -----------------------------------------------------------------------


def test_an_unchanged_service_is_kept_with_all_it_knows() -> None:
    first = table(service("web"), service("api", paths=("/api",)))
    second = table(service("web"), service("api", paths=("/v2",)), generation=2, before=first)
    assert second.services["web"] is first.services["web"]
    assert second.services["api"] is not first.services["api"]
    assert second.upstreams == first.upstreams


def test_an_upstream_is_the_same_as_long_as_its_tag_is() -> None:
    first = table(service("web"))
    switched = service("web", active=pool("green", 1, first_tag=20), idle=pool("blue", 1, first_tag=10))
    second = table(switched, before=first)
    assert second.upstreams == first.upstreams
    third = table(service("web", idle=pool("green", 1, first_tag=30)), before=second)
    assert third.upstreams[10] is first.upstreams[10]
    assert set(third.upstreams) == {10, 30}


def test_a_new_weight_reaches_an_upstream_that_is_known_already() -> None:
    first = table(service("web", active=pool("blue", 1, 1, first_tag=10)))
    second = table(service("web", active=pool("blue", 3, 1, first_tag=10)), before=first)
    assert second.upstreams[10] is first.upstreams[10]
    assert second.upstreams[10].weight == 3


def test_a_request_that_began_before_an_upstream_lost_its_weight_can_still_be_retried() -> None:
    first = table(service("web", balance=Balance.LEAST_CONN, active=pool("blue", 1, 1, 1, first_tag=10)))
    old_pool = first.services["web"].active
    tried = old_pool.choose()
    assert tried is not None
    table(service("web", active=pool("blue", 0, 0, 0, first_tag=10)), before=first)
    assert old_pool.choose((tried,)) is not None
    assert old_pool.choose() is not None


def test_a_service_takes_its_split_along_into_the_next_snapshot() -> None:
    view = service("web", canary=canary(50))
    first = table(view)
    budget = first.services["web"].retry_budget
    second = table(replace(view, canary=canary(60)), before=first)
    assert second.services["web"].retry_budget is budget


# --- what moves on with time ------------------------------------------------------------------------------

OUTLIER = Outlier(consecutive_failures=1, ejection_s=10.0)
PAIR = pool("blue", 1, 1, first_tag=10)


def fail(in_table: Table, tag: int, now: float = 100.0) -> None:
    observe = in_table.upstreams[tag].observe
    assert observe is not None
    observe(True, 1, now)


def test_only_pools_that_time_changes_are_restless() -> None:
    calm = service("api", paths=("/api",), active=pool("blue", 1, first_tag=30), idle=pool("green"))
    shop = table(service("web", active=PAIR, outlier=OUTLIER), calm)
    assert not shop.restless
    fail(shop, 10)
    assert shop.restless == {shop.services["web"].active}
    for balanced in tuple(shop.restless):
        balanced.tick(110.0)
    assert not shop.restless


def test_an_ejection_goes_on_in_the_next_table_whether_its_service_has_changed_or_not() -> None:
    view = service("web", active=PAIR, outlier=OUTLIER)
    first = table(view)
    fail(first, 10)
    same = table(view, before=first)
    assert same.restless == {same.services["web"].active}
    changed = table(replace(view, canary=canary(5)), before=same)
    active = changed.services["web"].active
    assert active is not same.services["web"].active
    assert changed.restless == {active}
    assert {active.choose() for _ in range(4)} == {changed.upstreams[11]}


def test_what_has_left_is_neither_restless_nor_observed() -> None:
    """Its last requests may still end, when its counters are somebody else's already."""
    first = table(service("web", active=PAIR, outlier=OUTLIER))
    fail(first, 10)
    second = table(service("web", active=pool("blue", 1, 1, first_tag=30), outlier=OUTLIER), before=first)
    assert not second.restless
    assert first.upstreams[10].observe is None
    assert second.upstreams[30].observe is not None
    third = table(before=second)
    assert not third.restless
    assert second.upstreams[30].observe is None


def test_an_ejection_is_counted_where_the_table_is_told_to() -> None:
    def count(upstream: LiveUpstream) -> None:
        count_ejection(upstream.cells, ejected=bool(upstream.ejected_until))

    view = service("web", active=PAIR, outlier=OUTLIER)
    shop = Table(Snapshot(1, (view,)), record, on_ejection=count)
    cells = shop.upstreams[10].cells
    fail(shop, 10)
    assert (cells[EJECTIONS], cells[EJECTED]) == (1, 1)
    shop.services["web"].active.tick(110.0)
    assert (cells[EJECTIONS], cells[EJECTED]) == (1, 0)


def test_an_upstream_that_becomes_healthy_from_one_table_to_the_next_is_warmed_up() -> None:
    sick = with_health(PAIR, Health.UNHEALTHY, 0)
    first = table(service("web", active=sick, slow_start_s=10.0))
    assert not first.restless
    second = table(service("web", active=PAIR, slow_start_s=10.0), before=first)
    assert second.restless == {second.services["web"].active}
    assert second.upstreams[10].weight < 1


def test_the_number_of_workers_divides_the_limit_of_an_upstream() -> None:
    view = service("web", limits=Limits(upstream_requests=4))
    shop = Table(Snapshot(1, (view,)), record, workers=2)
    shop.upstreams[10].in_flight = 2
    assert shop.services["web"].active.is_full()


def test_a_service_of_bytes_is_found_by_its_name_only() -> None:
    smtp = service("smtp", protocol=Protocol.TCP)
    shop = table(smtp, service("web", hosts=("app.example.com",)))
    assert shop.services["smtp"].view == smtp
    assert found(shop, b"app.example.com") == "web"
    assert found(shop, b"other.example.com") is None
