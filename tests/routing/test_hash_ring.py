from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bgproxy.model import Balance, Health, Outlier, PoolView
from bgproxy.routing.balance import LivePool
from bgproxy.routing.hash_ring import POINTS, RING_POINTS, HashRing, points_per_weight, positions
from tests.routing.snapshots import live_pool, pool, with_health

KEYS = [b"10.1.%d.%d" % divmod(number, 256) for number in range(4000)]
GOLDEN = [73554581, 538252589, 379917132]


def hashed(view: PoolView, before: LivePool | None = None) -> LivePool:
    return live_pool(view, Balance.HASH, before)


def owners(balanced: LivePool) -> dict[bytes, str]:
    chosen = {key: balanced.choose_by(key) for key in KEYS}
    return {key: upstream.name for key, upstream in chosen.items() if upstream is not None}


def moved(before: dict[bytes, str], after: dict[bytes, str]) -> set[bytes]:
    return {key for key in KEYS if before[key] != after[key]}


def test_a_key_keeps_its_upstream_whatever_is_in_flight() -> None:
    balanced = hashed(pool("blue", *[1] * 5))
    first = owners(balanced)
    balanced.upstreams[0].in_flight = 1000
    assert owners(balanced) == first
    assert len(first) == len(KEYS)


def test_keys_are_spread_evenly() -> None:
    shares = Counter(owners(hashed(pool("blue", *[1] * 10))).values())
    assert len(shares) == 10
    assert all(0.7 < share / (len(KEYS) / 10) < 1.3 for share in shares.values()), shares


@pytest.mark.parametrize("weights", [(3, 1), (1, 2, 4), (1000, 1000, 500), (50, 1)])
def test_weights_hold(weights: tuple[int, ...]) -> None:
    shares = Counter(owners(hashed(pool("blue", *weights))).values())
    for index, weight in enumerate(weights):
        expected = len(KEYS) * weight / sum(weights)
        assert abs(shares[f"blue-{index}"] - expected) < 0.25 * expected + 20, shares


@pytest.mark.parametrize("size", [2, 5, 20])
def test_when_one_goes_only_its_own_keys_move(size: int) -> None:
    view = pool("blue", *[1] * size)
    before = owners(hashed(view))
    after = owners(hashed(replace(view, upstreams=view.upstreams[1:])))
    assert moved(before, after) == {key for key in KEYS if before[key] == "blue-0"}
    assert len(moved(before, after)) <= len(KEYS) * 1.3 / size


@pytest.mark.parametrize("size", [2, 5, 20])
def test_when_one_comes_keys_move_to_it_only(size: int) -> None:
    before = owners(hashed(pool("blue", *[1] * size)))
    after = owners(hashed(pool("blue", *[1] * (size + 1))))
    assert {after[key] for key in moved(before, after)} == {f"blue-{size}"}
    assert len(moved(before, after)) <= len(KEYS) * 1.3 / (size + 1)


def test_with_weights_little_moves_either() -> None:
    before = owners(hashed(pool("blue", 4, 2, 1, 1)))
    after = owners(hashed(pool("blue", 4, 2, 1)))
    assert moved(before, after) == {key for key in KEYS if before[key] == "blue-3"}


def test_with_weights_that_differ_a_lot_keys_move_to_a_newcomer_only() -> None:
    before, after = (
        owners(hashed(pool("blue", 1000, 300, 1))),
        owners(hashed(pool("blue", 1000, 300, 1, 300))),
    )
    assert {after[key] for key in moved(before, after)} == {"blue-3"}


def test_one_that_falls_ill_or_is_ejected_moves_what_one_that_goes_would() -> None:
    view = pool("blue", *[1] * 5)
    gone = owners(hashed(replace(view, upstreams=view.upstreams[1:])))
    assert owners(hashed(with_health(view, Health.UNHEALTHY, 0))) == gone
    balanced = live_pool(view, Balance.HASH, outlier=Outlier(consecutive_failures=1))
    observe = balanced.upstreams[0].observe
    assert observe is not None
    observe(True, 1, 100.0)
    assert owners(balanced) == gone


def test_the_order_of_the_upstreams_does_not_matter() -> None:
    """All workers agree, and so do the proxies of a fleet."""
    view = pool("blue", 1, 2, 1)
    turned = replace(view, upstreams=view.upstreams[::-1])
    assert owners(hashed(view)) == owners(hashed(turned))


def test_positions_are_the_same_for_ever() -> None:
    """Or an upgrade would move every key while old and new workers serve side by side."""
    assert list(positions("10.0.0.1:80", 3)) == GOLDEN
    assert list(positions("10.0.0.1:80", 40))[:3] == GOLDEN
    assert len(list(positions("10.0.0.1:80", 40))) == 40


def test_the_ring_is_made_when_it_is_first_asked_for_and_lives_until_its_members_change() -> None:
    view = pool("blue", 1, 1, 1)
    first = hashed(view)
    assert first.choose_by(None) is not None
    assert not rings(first)
    first.choose_by(b"key")
    assert rings(first)
    sick = hashed(with_health(view, Health.UNHEALTHY, 1), first)
    assert rings(sick) == rings(first)
    smaller = hashed(replace(view, upstreams=view.upstreams[1:]), sick)
    assert not rings(smaller)


def rings(balanced: LivePool) -> list[HashRing]:
    return [] if balanced._ring is None else [balanced._ring]


def test_where_one_cannot_take_a_key_it_falls_to_the_next_on_the_ring() -> None:
    balanced = live_pool(pool("blue", *[1] * 5), Balance.HASH, share=1)
    for key in KEYS[:200]:
        first = balanced.choose_by(key)
        assert first is not None
        second = balanced.choose_by(key, (first,))
        first.in_flight = 1
        assert balanced.choose_by(key) is second is not first
        first.in_flight = 0
        assert balanced.choose_by(key, balanced.upstreams) is None


def test_where_nearly_nobody_is_left_keys_are_still_spread_and_keep_their_upstream() -> None:
    view = with_health(pool("blue", *[1] * 400), Health.UNHEALTHY, *range(2, 400))
    balanced = hashed(view)
    found = owners(balanced)
    assert owners(balanced) == found
    assert 0.3 < Counter(found.values())["blue-0"] / len(KEYS) < 0.7


@pytest.mark.parametrize("weights", [[1], [1000], [1] * 1000, [1, 1000], [1000] * 500 + [1]])
def test_a_ring_is_bounded(weights: list[int]) -> None:
    total = points_per_weight(weights) * sum(weights)
    assert POINTS <= total <= max(RING_POINTS, POINTS * len(weights))
