from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from itertools import permutations

import pytest

from bgproxy.model import Balance
from bgproxy.routing.balance import LivePool, LiveUpstream
from bgproxy.routing.p2c import DECAY_S, FORGET_S, TwoChoices
from tests.routing.snapshots import live, live_pool, pool

NOW = 1000.0
Answer = Callable[[str, float], tuple[bool, float]]  # (failed, seconds) of an upstream's answer at a time


def upstreams(*weights: int) -> list[LiveUpstream]:
    return [live(view) for view in pool("blue", *weights).upstreams]


def traffic(
    balanced: LivePool,
    answer: Answer,
    *,
    clients: int,
    seconds: float,
    clock_s: float = 0.0,
    since: float = NOW,
) -> Counter[str]:
    """So many clients, each asking again as soon as it is answered; the clock may be as coarse as a sweep."""
    served: Counter[str] = Counter()
    under_way: list[tuple[float, int, LiveUpstream, float, bool]] = []
    now, number = since, 0
    while now < since + seconds:
        while len(under_way) < clients:
            upstream = balanced.choose()
            assert upstream is not None
            upstream.in_flight += 1
            failed, duration_s = answer(upstream.name, now)
            number += 1
            heapq.heappush(under_way, (now + duration_s, number, upstream, duration_s, failed))
            served[upstream.name] += 1
        now, _, upstream, duration_s, failed = heapq.heappop(under_way)
        seen = now - now % clock_s if clock_s else now
        assert upstream.observe is not None
        upstream.observe(failed, round(duration_s * 1e6), seen)
        upstream.in_flight -= 1
    for _, _, upstream, _, _ in under_way:
        upstream.in_flight -= 1
    return served


@pytest.mark.parametrize("clock_s", [0.0, 0.1])
def test_the_fast_one_is_preferred(clock_s: float) -> None:
    balanced = live_pool(pool("blue", 1, 1, 1, 1), Balance.P2C)
    slow = {"blue-0": 0.050}
    served = traffic(
        balanced, lambda name, _: (False, slow.get(name, 0.005)), clients=12, seconds=5, clock_s=clock_s
    )
    assert served["blue-0"] < 0.05 * served.total()
    assert all(0.25 < served[f"blue-{index}"] / served.total() < 0.40 for index in (1, 2, 3)), served


def test_equals_get_equal_shares() -> None:
    balanced = live_pool(pool("blue", 1, 1, 1, 1), Balance.P2C)
    served = traffic(balanced, lambda _, now: (False, 0.008 + now % 0.004), clients=20, seconds=10)
    assert all(0.22 < share / served.total() < 0.28 for share in served.values()), served


def test_weights_hold_where_all_are_equally_fast_and_busy() -> None:
    balanced = live_pool(pool("blue", 3, 1), Balance.P2C)
    served = traffic(balanced, lambda *_: (False, 0.010), clients=80, seconds=10)
    assert 0.70 < served["blue-0"] / served.total() < 0.80


def test_one_that_refuses_quickly_does_not_draw_the_traffic() -> None:
    balanced = live_pool(pool("blue", 1, 1, 1), Balance.P2C)

    def answer(name: str, _: float) -> tuple[bool, float]:
        return (True, 0.0001) if name == "blue-0" else (False, 0.020)

    served = traffic(balanced, answer, clients=12, seconds=10)
    assert served["blue-0"] < 0.02 * served.total()


def test_one_that_was_slow_for_a_moment_is_found_out_to_be_fast_again() -> None:
    balanced = live_pool(pool("blue", 1, 1), Balance.P2C)

    def answer(name: str, now: float) -> tuple[bool, float]:
        return False, 1.0 if name == "blue-0" and now < NOW + 1 else 0.010

    at_first = traffic(balanced, answer, clients=4, seconds=5)
    assert at_first["blue-0"] < 0.05 * at_first.total()
    traffic(balanced, answer, clients=4, seconds=60, since=NOW + 5)
    later = traffic(balanced, answer, clients=4, seconds=10, since=NOW + 65)
    assert 0.4 < later["blue-0"] / later.total() < 0.6


def test_a_slow_answer_counts_in_full_and_fast_ones_make_up_for_it_in_time() -> None:
    choices, (upstream,) = TwoChoices(), upstreams(1)
    choices.observe(upstream, 1_000, NOW, failed=False)
    choices.observe(upstream, 50_000, NOW, failed=False)
    assert choices.cost(upstream) == 50_000
    choices.observe(upstream, 1_000, NOW, failed=False)
    assert choices.cost(upstream) == 50_000
    choices.observe(upstream, 1_000, NOW + DECAY_S, failed=False)
    assert choices.cost(upstream) == pytest.approx(1_000 + 49_000 / 2.71828, rel=1e-4)


def test_what_is_not_heard_of_counts_less_and_less_and_is_forgotten_at_last() -> None:
    choices, (silent, other) = TwoChoices(), upstreams(1, 1)
    choices.observe(silent, 1_000, NOW, failed=False)
    costs = []
    for seconds in (0.0, 1.0, DECAY_S, FORGET_S):
        choices.observe(other, 1_000, NOW + seconds, failed=False)
        costs.append(choices.cost(silent))
    assert costs == sorted(costs, reverse=True)
    assert costs[2] == pytest.approx(1_000 / 2.71828, rel=1e-4)
    choices.observe(other, 1_000, NOW + FORGET_S + 1, failed=False)
    assert choices.cost(silent) == 0
    silent.in_flight = 1
    assert choices.cost(silent) > choices.cost(other), "one request finds out, not all"


def test_more_in_flight_and_less_weight_cost_more() -> None:
    choices, (one, heavy) = TwoChoices(), upstreams(1, 4)
    for upstream in (one, heavy):
        choices.observe(upstream, 1_000, NOW, failed=False)
    assert choices.cost(one) == 4 * choices.cost(heavy)
    one.in_flight = heavy.in_flight = 7
    assert choices.cost(one) == 8_000
    assert choices.cost(heavy) == 2_000


def test_a_failure_costs_twice_the_latency_and_never_less_than_it_took() -> None:
    choices, (upstream, new) = TwoChoices(), upstreams(1, 1)
    choices.observe(upstream, 4_000, NOW, failed=False)
    choices.observe(upstream, 50, NOW, failed=True)
    assert choices.cost(upstream) == 8_000
    choices.observe(upstream, 30_000_000, NOW, failed=True)
    assert choices.cost(upstream) == 30_000_000
    choices.observe(new, 50, NOW, failed=True)
    assert choices.cost(new) == 1_000_000, "it has never done anything else"


class Spied(TwoChoices):
    """Finds all equal, and remembers whom it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[str] = []

    def cost(self, upstream: LiveUpstream) -> float:
        self.looked.append(upstream.name)
        return 0.0


@pytest.mark.interpreted
@pytest.mark.parametrize("size", [2, 3, 7, 1000])
def test_the_two_are_distinct_and_every_pair_is_as_likely(size: int) -> None:
    choices, ready = Spied(), upstreams(*[1] * size)
    drawn: Counter[tuple[str, str]] = Counter()
    draws = 20_000
    for _ in range(draws):
        choices.looked.clear()
        choices.choose(ready)
        second, first = choices.looked
        assert first != second
        drawn[first, second] += 1
    if size < 10:
        pairs = [(one.name, other.name) for one, other in permutations(ready, 2)]
        assert all(0.8 < drawn[pair] / (draws / len(pairs)) < 1.2 for pair in pairs), drawn
    else:
        firsts = Counter(first for first, _ in drawn.elements())
        assert len(firsts) == size
        assert max(firsts.values()) < 3 * draws / size


def test_what_was_learnt_survives_a_new_snapshot() -> None:
    view = pool("blue", 1, 1)
    before = live_pool(view, Balance.P2C)
    for upstream, duration_us in zip(before.upstreams, (90_000, 1_000), strict=True):
        assert upstream.observe is not None
        upstream.observe(False, duration_us, NOW)
    after = live_pool(view, Balance.P2C, before)
    assert {after.choose() for _ in range(50)} == {after.upstreams[1]}


def test_time_goes_on_in_a_new_snapshot() -> None:
    """A latency that counted for little does not count in full again."""
    view = pool("blue", 1, 1)
    before = live_pool(view, Balance.P2C)
    for upstream, duration_us, now in zip(before.upstreams, (90_000, 1_000), (NOW, NOW + 50), strict=True):
        assert upstream.observe is not None
        upstream.observe(False, duration_us, now)
    assert {before.choose() for _ in range(50)} == {before.upstreams[0]}
    after = live_pool(view, Balance.P2C, before)
    assert {after.choose() for _ in range(50)} == {after.upstreams[0]}


def test_a_retry_goes_to_the_better_of_two_others() -> None:
    balanced = live_pool(pool("blue", 1, 1, 1), Balance.P2C)
    first, slow, fast = balanced.upstreams
    for upstream, duration_us in ((first, 10), (slow, 90_000), (fast, 1_000)):
        assert upstream.observe is not None
        upstream.observe(False, duration_us, NOW)
    assert {balanced.choose((first,)) for _ in range(20)} == {fast}
