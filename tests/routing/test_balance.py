from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.model import Balance, Health, UpstreamView, WhenUnhealthy
from bgproxy.routing.balance import LEAST_CONN_SAMPLE, ROUND_ROBIN_TURNS, LivePool, LiveUpstream, interleave
from tests.routing.snapshots import live, live_pool, pool, record

both = pytest.mark.parametrize("balance", list(Balance))
weights = st.lists(st.integers(1, 20), min_size=1, max_size=6)


def chosen(balanced: LivePool, tried: tuple[LiveUpstream, ...] = ()) -> LiveUpstream:
    upstream = balanced.choose(tried)
    assert upstream is not None
    return upstream


def names(balanced: LivePool, count: int) -> list[str]:
    return [chosen(balanced).name for _ in range(count)]


@given(weights, st.sampled_from(Balance), st.integers(0, 200))
def test_every_round_gives_each_upstream_its_weight_exactly(
    of: list[int], balance: Balance, turn: int
) -> None:
    """With nothing in flight, also for least_conn: a quiet service must not ignore its weights."""
    balanced = live_pool(pool("blue", *of), balance, turn)
    round_size = len(of) if len(set(of)) == 1 else sum(of)
    share = {f"blue-{index}": round_size * weight // sum(of) for index, weight in enumerate(of)}
    assert Counter(names(balanced, round_size)) == share
    assert Counter(names(balanced, round_size)) == share


@given(weights)
def test_the_turns_of_an_upstream_are_spread_over_the_round(of: list[int]) -> None:
    """At any point of a round each upstream has had its share, give or take two turns."""
    turns = interleave([live(view) for view in pool("blue", *of).upstreams])
    total = sum(of)
    for length in range(len(turns) + 1):
        had = Counter(upstream.name for upstream in turns[:length])
        for index, weight in enumerate(of):
            assert abs(had[f"blue-{index}"] - length * weight / total) <= 2


def test_a_heavy_upstream_does_not_get_its_turns_in_a_row() -> None:
    order = "".join(name[-1] for name in names(live_pool(pool("blue", 5, 1, 1), Balance.ROUND_ROBIN), 14))
    assert order.count("0") == 10
    assert "0000" not in order
    order = "".join(
        name[-1] for name in names(live_pool(pool("blue", 4, 1, 1, 1, 1), Balance.ROUND_ROBIN), 16)
    )
    assert "00" not in order


def test_a_round_is_bounded_and_leaves_nobody_out() -> None:
    turns = interleave([live(view) for view in pool("blue", 10**9, 1, 10**9).upstreams])
    assert len(turns) <= ROUND_ROBIN_TURNS + 3
    assert {upstream.name for upstream in turns} == {"blue-0", "blue-1", "blue-2"}


@both
def test_an_upstream_of_weight_zero_gets_nothing(balance: Balance) -> None:
    balanced = live_pool(pool("blue", 1, 0, 1), balance)
    assert set(names(balanced, 10)) == {"blue-0", "blue-2"}
    assert len(balanced.upstreams) == 3
    assert not live_pool(pool("blue", 0), balance)


@both
@pytest.mark.parametrize("health", [Health.UNKNOWN, Health.UNHEALTHY])
def test_only_a_healthy_upstream_is_chosen(balance: Balance, health: Health) -> None:
    view = pool("blue", 1, 1, 1)
    sick = replace(view.upstreams[1], health=health)
    balanced = live_pool(replace(view, upstreams=(view.upstreams[0], sick, view.upstreams[2])), balance)
    assert set(names(balanced, 10)) == {"blue-0", "blue-2"}


@both
def test_a_pool_without_a_healthy_upstream_has_nothing_to_choose(balance: Balance) -> None:
    for view in (pool("blue", 1, 1, health=Health.UNHEALTHY), pool("blue")):
        balanced = live_pool(view, balance)
        assert not balanced
        assert balanced.choose() is None


@both
def test_try_all_balances_over_the_unhealthy_only_if_none_is_healthy(balance: Balance) -> None:
    view = pool("blue", 1, 1, 0, health=Health.UNHEALTHY)
    desperate = LivePool(view, balance, WhenUnhealthy.TRY_ALL, live)
    assert set(names(desperate, 10)) == {"blue-0", "blue-1"}
    recovered = replace(
        view, upstreams=(replace(view.upstreams[0], health=Health.HEALTHY), *view.upstreams[1:])
    )
    assert set(names(LivePool(recovered, balance, WhenUnhealthy.TRY_ALL, live), 10)) == {"blue-0"}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=LEAST_CONN_SAMPLE - 1))
def test_least_conn_chooses_the_least_loaded_for_its_weight(loads: list[tuple[int, int]]) -> None:
    balanced = live_pool(pool("blue", *(weight for _, weight in loads)), Balance.LEAST_CONN)
    for upstream, (in_flight, _) in zip(balanced.upstreams, loads, strict=True):
        upstream.in_flight = in_flight
    least = min(in_flight / weight for in_flight, weight in loads)
    for _ in range(2 * sum(weight for _, weight in loads)):
        upstream = chosen(balanced)
        assert upstream.in_flight / upstream.weight == least


def test_least_conn_chooses_the_least_loaded_of_as_many_as_it_samples() -> None:
    balanced = live_pool(pool("blue", *[1] * LEAST_CONN_SAMPLE), Balance.LEAST_CONN)
    for upstream in balanced.upstreams:
        upstream.in_flight = 2
    for upstream in balanced.upstreams:
        upstream.in_flight = 1
        assert {chosen(balanced) for _ in range(LEAST_CONN_SAMPLE)} == {upstream}
        upstream.in_flight = 2


def test_least_conn_spreads_over_the_equally_loaded() -> None:
    balanced = live_pool(pool("blue", 1, 1, 1, 1), Balance.LEAST_CONN)
    for upstream in balanced.upstreams:
        upstream.in_flight = 7
    assert Counter(names(balanced, 40)) == {f"blue-{index}": 10 for index in range(4)}


def test_least_conn_keeps_a_large_pool_level() -> None:
    balanced = live_pool(pool("blue", *[1] * 50), Balance.LEAST_CONN)
    for _ in range(500):
        chosen(balanced).in_flight += 1
    loads = [upstream.in_flight for upstream in balanced.upstreams]
    assert (min(loads), max(loads)) == (10, 10)


class Watched(LiveUpstream):
    """Counts how often its load is looked at."""

    __slots__ = ("load",)
    looks = 0

    @property
    def in_flight(self) -> int:
        Watched.looks += 1
        return self.load

    @in_flight.setter
    def in_flight(self, value: int) -> None:
        self.load = value


@pytest.mark.parametrize("size", [2, 8, 100, 1000])
def test_a_choice_looks_at_a_bounded_number_of_upstreams(size: int) -> None:
    def watched(view: UpstreamView) -> Any:
        return Watched(view, record())

    balanced = LivePool(pool("blue", *[1] * size), Balance.LEAST_CONN, WhenUnhealthy.FAIL, watched)
    for upstream in balanced.upstreams:
        upstream.in_flight = 1
    Watched.looks = 0
    for _ in range(100):
        chosen(balanced)
    assert Watched.looks == 100 * min(size, LEAST_CONN_SAMPLE)


@both
def test_what_was_tried_is_not_chosen_again(balance: Balance) -> None:
    balanced = live_pool(pool("blue", 3, 1, 2), balance)
    for _ in range(12):
        first = chosen(balanced)
        second = chosen(balanced, (first,))
        third = chosen(balanced, (first, second))
        assert {first.name, second.name, third.name} == {"blue-0", "blue-1", "blue-2"}
        assert balanced.choose((first, second, third)) is None


def test_a_retry_of_least_conn_goes_to_the_least_loaded_of_the_others() -> None:
    balanced = live_pool(pool("blue", 1, 1, 2, 1), Balance.LEAST_CONN)
    for upstream, in_flight in zip(balanced.upstreams, (0, 3, 4, 5), strict=True):
        upstream.in_flight = in_flight
    assert chosen(balanced, (balanced.upstreams[0],)).name == "blue-2"


@both
def test_the_turn_survives_a_new_snapshot(balance: Balance) -> None:
    view = pool("blue", 2, 1, 1)
    unbroken = names(live_pool(view, balance), 40)
    broken: list[str] = []
    turn = 0
    for _ in range(40):
        balanced = live_pool(view, balance, turn)
        broken += names(balanced, 1)
        turn = balanced.turn
    assert broken == unbroken


@both
def test_a_turn_beyond_the_end_of_a_smaller_round_begins_anew(balance: Balance) -> None:
    assert set(names(live_pool(pool("blue", 1, 1), balance, turn=99), 2)) == {"blue-0", "blue-1"}
