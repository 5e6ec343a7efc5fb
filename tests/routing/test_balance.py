from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.model import Balance, Health, Policy, UpstreamView, WhenUnhealthy
from bgproxy.routing.balance import LEAST_CONN_SAMPLE, NO_LIMIT, LivePool, LiveUpstream
from tests.routing.snapshots import live_pool, pool, record, with_health

every = pytest.mark.parametrize("balance", list(Balance))
IN_TURN = [Balance.ROUND_ROBIN, Balance.LEAST_CONN, Balance.HASH]  # hash: requests without a key
weights = st.lists(st.integers(1, 20), min_size=1, max_size=6)


def chosen(balanced: LivePool, tried: tuple[LiveUpstream, ...] = ()) -> LiveUpstream:
    upstream = balanced.choose(tried)
    assert upstream is not None
    return upstream


def by_key(balanced: LivePool, tried: tuple[LiveUpstream, ...] = ()) -> LiveUpstream | None:
    """As the exchange asks: by the key of the request where there may be one."""
    return balanced.choose(tried) if balanced.hash_key is None else balanced.choose_by(b"key", tried)


def names(balanced: LivePool, count: int) -> list[str]:
    return [chosen(balanced).name for _ in range(count)]


@given(weights, st.sampled_from(IN_TURN), st.integers(0, 200))
def test_every_round_gives_each_upstream_its_weight_exactly(
    of: list[int], balance: Balance, begun: int
) -> None:
    """With nothing in flight, also for least_conn: a quiet service must not ignore its weights."""
    balanced = live_pool(pool("blue", *of), balance)
    names(balanced, begun)
    round_size = len(of) if len(set(of)) == 1 else sum(of)
    share = {f"blue-{index}": round_size * weight // sum(of) for index, weight in enumerate(of)}
    assert Counter(names(balanced, round_size)) == share
    assert Counter(names(balanced, round_size)) == share


@every
def test_an_upstream_of_weight_zero_gets_nothing(balance: Balance) -> None:
    balanced = live_pool(pool("blue", 1, 0, 1), balance)
    assert set(names(balanced, 100)) == {"blue-0", "blue-2"}
    assert len(balanced.upstreams) == 3
    assert not live_pool(pool("blue", 0), balance)


@every
@pytest.mark.parametrize("health", [Health.UNKNOWN, Health.UNHEALTHY])
def test_only_a_healthy_upstream_is_chosen(balance: Balance, health: Health) -> None:
    balanced = live_pool(with_health(pool("blue", 1, 1, 1), health, 1), balance)
    assert set(names(balanced, 100)) == {"blue-0", "blue-2"}


@every
def test_a_pool_without_a_healthy_upstream_has_nothing_to_choose(balance: Balance) -> None:
    for view in (pool("blue", 1, 1, health=Health.UNHEALTHY), pool("blue")):
        balanced = live_pool(view, balance)
        assert not balanced
        assert balanced.choose() is None


@every
def test_try_all_balances_over_the_unhealthy_only_if_none_is_healthy(balance: Balance) -> None:
    view = pool("blue", 1, 1, 0, health=Health.UNHEALTHY)
    desperate = live_pool(view, balance, when_unhealthy=WhenUnhealthy.TRY_ALL)
    assert set(names(desperate, 100)) == {"blue-0", "blue-1"}
    recovered = with_health(view, Health.HEALTHY, 0)
    balanced = live_pool(recovered, balance, when_unhealthy=WhenUnhealthy.TRY_ALL)
    assert set(names(balanced, 10)) == {"blue-0"}


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


def watched(size: int, balance: Balance, share: int = NO_LIMIT) -> LivePool:
    """A pool of which every upstream has a request in flight."""

    def live(view: UpstreamView) -> Any:
        return Watched(view, record())

    balanced = LivePool(pool("blue", *[1] * size), Policy(balance=balance), live, share=share)
    for upstream in balanced.upstreams:
        upstream.in_flight = 1
    Watched.looks = 0
    return balanced


@pytest.mark.interpreted
@pytest.mark.parametrize("size", [2, 8, 100, 1000])
@pytest.mark.parametrize(
    ("balance", "looks"),
    [(Balance.ROUND_ROBIN, 0), (Balance.LEAST_CONN, LEAST_CONN_SAMPLE), (Balance.P2C, 2)],
)
def test_a_choice_looks_at_a_bounded_number_of_upstreams(size: int, balance: Balance, looks: int) -> None:
    balanced = watched(size, balance)
    for _ in range(100):
        chosen(balanced)
    assert Watched.looks == 100 * min(size, looks)


@pytest.mark.interpreted
@pytest.mark.parametrize("size", [2, 8, 100, 1000])
def test_a_key_leads_to_its_upstream_without_a_look_at_the_others(size: int) -> None:
    balanced = watched(size, Balance.HASH)
    for number in range(100):
        assert balanced.choose_by(b"%d" % number) is not None
    assert Watched.looks == 100


@every
@pytest.mark.interpreted
def test_a_retry_looks_at_a_bounded_number_of_upstreams(balance: Balance) -> None:
    balanced = watched(1000, balance, share=2)
    for _ in range(100):
        first = chosen(balanced)
        assert chosen(balanced, (first,)) is not first
    assert Watched.looks < 100 * 4 * LEAST_CONN_SAMPLE


@every
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


@pytest.mark.parametrize("balance", IN_TURN)
def test_the_turn_survives_a_new_snapshot(balance: Balance) -> None:
    view = pool("blue", 2, 1, 1)
    unbroken = names(live_pool(view, balance), 40)
    broken: list[str] = []
    balanced = live_pool(view, balance)
    for _ in range(40):
        broken += names(balanced, 1)
        balanced = live_pool(view, balance, balanced)
    assert broken == unbroken


@every
def test_a_turn_beyond_the_end_of_a_smaller_round_begins_anew(balance: Balance) -> None:
    before = live_pool(pool("blue", *[1] * 100), balance)
    names(before, 99)
    after = live_pool(pool("blue", 1, 1), balance, before)
    assert set(names(after, 100)) == {"blue-0", "blue-1"}


# --- the share of requests -------------------------------------------------------------------------------


@every
def test_an_upstream_never_gets_more_than_its_share(balance: Balance) -> None:
    balanced = live_pool(pool("blue", 5, 1, 2), balance, share=3)
    for left in range(9, 0, -1):
        assert not balanced.is_full(), left
        chosen(balanced).in_flight += 1
    assert [upstream.in_flight for upstream in balanced.upstreams] == [3, 3, 3]
    assert balanced.choose() is None
    assert by_key(balanced) is None
    assert balanced.is_full()
    balanced.upstreams[1].in_flight -= 1
    assert not balanced.is_full()
    assert chosen(balanced).name == "blue-1"
    assert by_key(balanced) is balanced.upstreams[1]


@every
def test_a_retry_keeps_to_the_share_too(balance: Balance) -> None:
    balanced = live_pool(pool("blue", 1, 1, 1), balance, share=1)
    first, second, third = balanced.upstreams
    second.in_flight = 1
    for _ in range(10):
        assert balanced.choose((first,)) is third
        assert by_key(balanced, (first,)) is third
    third.in_flight = 1
    assert balanced.choose((first,)) is None
    assert not balanced.is_full(), "there is one more, which was tried"


@every
def test_nobody_healthy_is_not_the_same_as_full(balance: Balance) -> None:
    for view in (pool("blue"), pool("blue", 1, health=Health.UNHEALTHY), pool("blue", 0)):
        balanced = live_pool(view, balance, share=1)
        assert balanced.choose() is None
        assert not balanced.is_full()


@every
def test_without_a_limit_no_pool_is_full(balance: Balance) -> None:
    balanced = live_pool(pool("blue", 1), balance)
    balanced.upstreams[0].in_flight = 1_000_000
    assert not balanced.is_full()
    assert balanced.choose() is balanced.upstreams[0]


# --- what is off -----------------------------------------------------------------------------------------


def test_nothing_is_observed_for_nobody() -> None:
    for balance in IN_TURN:
        assert [upstream.observe for upstream in live_pool(pool("blue", 1, 1), balance).upstreams] == [
            None
        ] * 2
    assert None not in [upstream.observe for upstream in live_pool(pool("blue", 1), Balance.P2C).upstreams]


def test_an_observer_goes_with_the_setting_that_needs_it() -> None:
    view = pool("blue", 1, 1)
    before = live_pool(view, Balance.P2C)
    after = live_pool(view, Balance.LEAST_CONN, before)
    assert [upstream.observe for upstream in after.upstreams] == [None, None]


def test_only_hash_has_keys() -> None:
    for balance in Balance:
        assert (live_pool(pool("blue", 1), balance).hash_key is not None) == (balance is Balance.HASH)
