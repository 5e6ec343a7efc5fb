from __future__ import annotations

from typing import Any

import pytest

from bgproxy.model import Balance, Health, Outlier, PoolView, WhenUnhealthy
from bgproxy.routing.balance import LivePool, LiveUpstream
from bgproxy.routing.outlier import EJECTION_TIMES, places
from tests.routing.snapshots import live_pool, pool, with_health

NOW = 1000.0
LIMITS = Outlier(consecutive_failures=3, ejection_s=10.0, max_ejected=0.5)
every = pytest.mark.parametrize("balance", list(Balance))


def guarded(
    view: PoolView,
    balance: Balance = Balance.ROUND_ROBIN,
    before: LivePool | None = None,
    limits: Outlier | None = LIMITS,
    **more: Any,
) -> LivePool:
    return live_pool(view, balance, before, outlier=limits, **more)


def end(upstream: LiveUpstream, *, failed: bool, now: float = NOW, times: int = 1) -> None:
    """So many attempts at the upstream end like that."""
    assert upstream.observe is not None
    for _ in range(times):
        upstream.observe(failed, 1_000, now)


def eject(upstream: LiveUpstream, now: float = NOW) -> None:
    end(upstream, failed=True, now=now, times=3)
    assert upstream.ejected_until > now


def chosen(balanced: LivePool) -> set[str]:
    """Who gets requests, with keys and without."""
    found = [balanced.choose() for _ in range(100)]
    if balanced.hash_key is not None:
        found += [balanced.choose_by(b"%d" % number) for number in range(100)]
    return {upstream.name for upstream in found if upstream is not None}


@every
def test_so_many_failures_in_a_row_eject_an_upstream(balance: Balance) -> None:
    balanced = guarded(pool("blue", 1, 2, 1), balance)
    first = balanced.upstreams[0]
    end(first, failed=True, times=2)
    assert "blue-0" in chosen(guarded(pool("blue", 1, 1), balance))
    assert first.ejected_until == 0
    end(first, failed=True)
    assert first.ejected_until == NOW + 10
    assert chosen(balanced) == {"blue-1", "blue-2"}


def test_a_success_in_between_forgives_all() -> None:
    balanced = guarded(pool("blue", 1, 1))
    for _ in range(5):
        end(balanced.upstreams[0], failed=True, times=2)
        end(balanced.upstreams[0], failed=False)
    assert chosen(balanced) == {"blue-0", "blue-1"}


@every
def test_an_ejected_upstream_is_back_when_its_time_is_over(balance: Balance) -> None:
    restless: set[LivePool] = set()
    balanced = guarded(pool("blue", 1, 2, 1), balance, restless=restless)
    assert not restless
    eject(balanced.upstreams[0])
    assert restless == {balanced}
    balanced.tick(NOW + 9.9)
    assert chosen(balanced) == {"blue-1", "blue-2"}
    assert restless == {balanced}
    balanced.tick(NOW + 10)
    assert balanced.upstreams[0].ejected_until == 0
    if balance is not Balance.P2C:  # to which it still looks slow
        assert chosen(balanced) == {"blue-0", "blue-1", "blue-2"}
    assert not restless


def test_weights_are_as_before_when_all_are_back() -> None:
    balanced = guarded(pool("blue", 3, 1, 2))
    turns = balanced._turns
    eject(balanced.upstreams[0])
    assert len(balanced._turns) == 3
    balanced.tick(NOW + 10)
    assert balanced._turns == turns


def test_each_ejection_in_a_row_is_longer_up_to_a_cap() -> None:
    balanced = guarded(pool("blue", 1, 1))
    upstream, now, lengths = balanced.upstreams[0], NOW, []
    for _ in range(EJECTION_TIMES + 2):
        eject(upstream, now)
        lengths.append(upstream.ejected_until - now)
        now = upstream.ejected_until
        balanced.tick(now)
    assert lengths == [10.0 * times for times in range(1, EJECTION_TIMES + 1)] + [10.0 * EJECTION_TIMES] * 2
    end(upstream, failed=False, now=now)
    eject(upstream, now)
    assert upstream.ejected_until == now + 10


def test_what_was_under_way_before_the_ejection_neither_ends_nor_extends_it() -> None:
    balanced = guarded(pool("blue", 1, 1))
    upstream = balanced.upstreams[0]
    eject(upstream)
    end(upstream, failed=True, now=NOW + 5, times=10)
    end(upstream, failed=False, now=NOW + 6)
    assert upstream.ejected_until == NOW + 10
    balanced.tick(NOW + 10)
    eject(upstream, NOW + 10)
    assert upstream.ejected_until == NOW + 30, "the second in a row"


@pytest.mark.parametrize(
    ("share", "candidates", "most"),
    [(0.5, 10, 5), (0.5, 3, 1), (0.1, 3, 1), (0.1, 2, 1), (1.0, 5, 4), (0.9, 1, 0), (0.5, 0, 0), (0.0, 9, 0)],
)
def test_a_share_may_be_ejected_one_at_least_and_never_the_last(
    share: float, candidates: int, most: int
) -> None:
    assert places(share, candidates) == most


@every
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_where_all_fail_no_more_are_ejected_than_may_be(balance: Balance, share: float) -> None:
    balanced = guarded(
        pool("blue", *[1] * 10), balance, limits=Outlier(consecutive_failures=3, max_ejected=share)
    )
    for _ in range(3):
        for upstream in balanced.upstreams:
            end(upstream, failed=True, times=3)
    left = [upstream for upstream in balanced.upstreams if not upstream.ejected_until]
    assert len(left) == (7 if share == 0.3 else 1)
    assert chosen(balanced) <= {upstream.name for upstream in left}
    assert balanced
    assert balanced.choose() in left


def test_one_that_found_no_place_takes_the_next_one_that_is_free() -> None:
    balanced = guarded(pool("blue", 1, 1))
    first, second = balanced.upstreams
    eject(first)
    end(second, failed=True, times=5)
    assert chosen(balanced) == {"blue-1"}
    balanced.tick(NOW + 10)
    end(second, failed=True, now=NOW + 10)
    assert chosen(balanced) == {"blue-0"}


def test_only_those_that_can_be_chosen_count_for_the_share() -> None:
    balanced = guarded(with_health(pool("blue", 1, 1, 1, 1), Health.UNHEALTHY, 2, 3))
    eject(balanced.upstreams[0])
    end(balanced.upstreams[1], failed=True, times=9)
    assert chosen(balanced) == {"blue-1"}


# --- from one snapshot to the next -----------------------------------------------------------------------


@every
def test_an_ejection_outlives_the_snapshot(balance: Balance) -> None:
    view, restless = pool("blue", 1, 1, 1), set[LivePool]()
    before = guarded(view, balance)
    eject(before.upstreams[0])
    after = guarded(view, balance, before, restless=restless)
    assert chosen(after) == {"blue-1", "blue-2"}
    assert restless == {after}


def test_failures_are_counted_across_snapshots() -> None:
    view = pool("blue", 1, 1)
    before = guarded(view)
    end(before.upstreams[0], failed=True, times=2)
    after = guarded(view, before=before)
    end(after.upstreams[0], failed=True)
    assert chosen(after) == {"blue-1"}


def test_a_retry_in_a_pool_of_an_older_snapshot_avoids_the_ejected_too() -> None:
    view = pool("blue", 1, 1, 1)
    before = guarded(view)
    after = guarded(view, before=before)
    first, second, third = after.upstreams
    eject(second)
    assert {before.choose((first,)) for _ in range(6)} == {third}


def test_when_the_others_fall_ill_the_ejected_come_back() -> None:
    """First those whose time would be over first, and only as many as it takes."""
    view = pool("blue", 1, 1, 1, 1)
    before = guarded(view)
    eject(before.upstreams[0], NOW + 1)
    eject(before.upstreams[1], NOW)
    after = guarded(with_health(view, Health.UNHEALTHY, 2), before=before)
    assert chosen(after) == {"blue-1", "blue-3"}
    last = guarded(with_health(view, Health.UNHEALTHY, 2, 3), before=after)
    assert chosen(last) == {"blue-1"}
    alone = guarded(with_health(view, Health.UNHEALTHY, 1, 2, 3), before=last)
    assert chosen(alone) == {"blue-0"}


def test_one_that_health_checks_have_found_ill_is_not_ejected_any_more() -> None:
    view, told = pool("blue", 1, 1, 1), list[tuple[str, bool]]()
    before = guarded(view)
    eject(before.upstreams[0])

    def note(upstream: LiveUpstream) -> None:
        told.append((upstream.name, bool(upstream.ejected_until)))

    sick = guarded(with_health(view, Health.UNHEALTHY, 0), before=before, on_ejection=note)
    assert told == [("blue-0", False)]
    assert chosen(guarded(view, before=sick)) == {"blue-0", "blue-1", "blue-2"}


def test_where_none_is_healthy_and_all_are_tried_the_failing_are_ejected_too() -> None:
    view = pool("blue", 1, 1, 1, health=Health.UNHEALTHY)
    balanced = guarded(view, when_unhealthy=WhenUnhealthy.TRY_ALL)
    eject(balanced.upstreams[0])
    assert chosen(balanced) == {"blue-1", "blue-2"}


def test_without_the_setting_everybody_is_back_and_nobody_watches() -> None:
    view = pool("blue", 1, 1)
    before = guarded(view)
    eject(before.upstreams[0])
    told: list[LiveUpstream] = []
    after = guarded(view, before=before, limits=None, on_ejection=told.append)
    assert chosen(after) == {"blue-0", "blue-1"}
    assert told == [after.upstreams[0]]
    assert after.upstreams[0].ejected_until == 0
    assert after.upstreams[0].observe is None


def test_every_ejection_and_every_return_is_told() -> None:
    told: list[tuple[str, float]] = []
    balanced = guarded(
        pool("blue", 1, 1), on_ejection=lambda upstream: told.append((upstream.name, upstream.ejected_until))
    )
    eject(balanced.upstreams[0])
    balanced.tick(NOW + 10)
    assert told == [("blue-0", NOW + 10), ("blue-0", 0.0)]
