from __future__ import annotations

from collections import Counter

import pytest

from bgproxy.model import Balance, Health, Outlier, PoolView
from bgproxy.routing.balance import LivePool
from bgproxy.routing.warmup import FIRST_SHARE, STEP_S, warmth
from tests.routing.snapshots import live_pool, pool, with_health

NOW = 1000.0
SLOW_START_S = 30.0
ILL = with_health(pool("blue", 1, 1, 1), Health.UNKNOWN, 0)
WELL = pool("blue", 1, 1, 1)
every = pytest.mark.parametrize("balance", list(Balance))


def slow(
    view: PoolView,
    balance: Balance = Balance.ROUND_ROBIN,
    before: LivePool | None = None,
    slow_start_s: float = SLOW_START_S,
    restless: set[LivePool] | None = None,
) -> LivePool:
    return live_pool(view, balance, before, slow_start_s=slow_start_s, restless=restless)


def recovered(balance: Balance = Balance.ROUND_ROBIN, restless: set[LivePool] | None = None) -> LivePool:
    """A pool of which the first upstream has just become healthy."""
    return slow(WELL, balance, slow(ILL, balance), restless=restless)


def share(balanced: LivePool) -> float:
    """How much the first upstream gets of what the second gets."""
    got = Counter(upstream.name for _ in range(2100) if (upstream := balanced.choose()) is not None)
    return got["blue-0"] / got["blue-1"]


@pytest.mark.parametrize(
    ("age_s", "expected"), [(0.0, 0.1), (10.0, 0.4), (15.0, 0.55), (30.0, 1.0), (99.0, 1.0)]
)
def test_the_ramp_is_a_line_from_a_tenth_to_all(age_s: float, expected: float) -> None:
    assert warmth(age_s, SLOW_START_S) == pytest.approx(expected)


@pytest.mark.parametrize("balance", [Balance.ROUND_ROBIN, Balance.LEAST_CONN, Balance.HASH])
def test_an_upstream_that_has_become_healthy_is_brought_up_to_its_weight(balance: Balance) -> None:
    restless: set[LivePool] = set()
    balanced = recovered(balance, restless)
    assert restless == {balanced}
    shares = [share(balanced)]
    for seconds in (0, 10, 20, 29):
        balanced.tick(NOW + seconds)
        shares.append(share(balanced))
    assert shares == pytest.approx([0.1, 0.1, 0.4, 0.7, 0.97], abs=0.01)
    assert restless == {balanced}
    balanced.tick(NOW + 30)
    assert share(balanced) == 1
    assert not restless
    assert [upstream.weight for upstream in balanced.upstreams] == [1, 1, 1]


def test_the_time_runs_from_the_first_tick_and_weights_change_once_a_second() -> None:
    balanced = recovered()
    upstream = balanced.upstreams[0]
    assert upstream.weight == FIRST_SHARE
    balanced.tick(NOW)
    changes = []
    for tenth in range(1, 41):
        before = upstream.weight
        balanced.tick(NOW + tenth / 10)
        if upstream.weight != before:
            changes.append(tenth / 10)
    assert changes == [STEP_S, 2 * STEP_S, 3 * STEP_S, 4 * STEP_S]


def test_p2c_and_least_conn_under_load_go_by_the_growing_weight() -> None:
    for balance in (Balance.LEAST_CONN, Balance.P2C):
        balanced = recovered(balance)
        for upstream in balanced.upstreams:
            upstream.in_flight = 4
            if upstream.observe is not None:
                upstream.observe(False, 1_000, NOW)
        assert balanced.upstreams[0] not in {balanced.choose() for _ in range(50)}
        balanced.upstreams[0].in_flight = 0
        balanced.upstreams[1].in_flight = balanced.upstreams[2].in_flight = 50
        assert balanced.upstreams[0] in {balanced.choose() for _ in range(50)}


def test_a_hash_gives_it_more_and_more_of_its_keys_and_takes_none_away() -> None:
    keys = [b"%d" % number for number in range(3000)]
    balanced = recovered(Balance.HASH)
    steps: list[set[bytes]] = []
    for seconds in (0, 10, 20, 30):
        balanced.tick(NOW + seconds)
        steps.append({key for key in keys if balanced.choose_by(key) is balanced.upstreams[0]})
    assert steps[0] < steps[1] < steps[2] < steps[3]
    assert [len(each) / len(steps[3]) for each in steps] == pytest.approx([0.1, 0.4, 0.7, 1.0], abs=0.05)


@every
def test_if_all_begin_together_all_get_the_same(balance: Balance) -> None:
    cold = slow(pool("blue", 1, 1, 1, health=Health.UNKNOWN), balance)
    balanced = slow(WELL, balance, cold)
    balanced.tick(NOW)
    if balance is Balance.HASH:
        keys = [b"%d" % number for number in range(500)]
        warm = slow(WELL, balance)
        assert [balanced.choose_by(key).name for key in keys] == [warm.choose_by(key).name for key in keys]  # type: ignore[union-attr]
    assert share(balanced) == pytest.approx(1, abs=0.15)


def test_one_that_was_healthy_when_it_was_first_seen_is_taken_for_warm() -> None:
    """A worker that starts knows nothing of what was before."""
    restless: set[LivePool] = set()
    assert share(slow(WELL, restless=restless)) == 1
    assert not restless


def test_a_new_snapshot_goes_on_where_the_last_one_was() -> None:
    before = recovered()
    before.tick(NOW)
    before.tick(NOW + 10)
    restless: set[LivePool] = set()
    after = slow(pool("blue", 2, 2, 2), before=before, restless=restless)
    assert restless == {after}
    assert share(after) == pytest.approx(0.4, abs=0.01)
    after.tick(NOW + 20)
    assert share(after) == pytest.approx(0.7, abs=0.01)


def test_one_that_falls_ill_on_the_way_begins_anew() -> None:
    before = recovered()
    before.tick(NOW)
    before.tick(NOW + 20)
    ill = slow(ILL, before=before)
    assert ill.upstreams[0].weight == 1
    again = slow(WELL, before=ill)
    again.tick(NOW + 21)
    assert share(again) == pytest.approx(0.1, abs=0.01)


def test_one_that_is_back_from_an_ejection_warms_up() -> None:
    balanced = live_pool(
        pool("blue", 1, 1), outlier=Outlier(consecutive_failures=1, ejection_s=5.0), slow_start_s=SLOW_START_S
    )
    observe = balanced.upstreams[0].observe
    assert observe is not None
    observe(True, 1, NOW)
    balanced.tick(NOW + 5)
    assert share(balanced) == pytest.approx(0.1, abs=0.01)
    balanced.tick(NOW + 15)
    assert share(balanced) == pytest.approx(0.4, abs=0.01)


def test_without_slow_start_all_of_the_weight_counts_at_once() -> None:
    restless: set[LivePool] = set()
    balanced = slow(WELL, before=slow(ILL, slow_start_s=0.0), slow_start_s=0.0, restless=restless)
    assert share(balanced) == 1
    assert not restless


def test_when_slow_start_is_turned_off_all_are_warm() -> None:
    assert share(slow(WELL, before=recovered(), slow_start_s=0.0)) == 1
