from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.routing.turns import ROUND_TURNS, interleave
from bgproxy.routing.upstream import LiveUpstream
from tests.routing.snapshots import live, pool

weights = st.lists(st.integers(1, 20), min_size=1, max_size=6)


def upstreams(*of: int) -> list[LiveUpstream]:
    return [live(view) for view in pool("blue", *of).upstreams]


def order(*of: int) -> str:
    return "".join(upstream.name[-1] for upstream in interleave(upstreams(*of)))


@given(weights)
def test_the_turns_of_an_upstream_are_spread_over_the_round(of: list[int]) -> None:
    """At any point of a round each upstream has had its share, give or take two turns."""
    turns = interleave(upstreams(*of))
    total = sum(of)
    for length in range(len(turns) + 1):
        had = Counter(upstream.name for upstream in turns[:length])
        for index, weight in enumerate(of):
            assert abs(had[f"blue-{index}"] - length * weight / total) <= 2


def test_a_heavy_upstream_does_not_get_its_turns_in_a_row() -> None:
    assert order(5, 1, 1).count("0") == 5
    assert "0000" not in order(5, 1, 1) * 2
    assert "00" not in order(4, 1, 1, 1, 1) * 2


def test_a_round_is_bounded_and_leaves_nobody_out() -> None:
    turns = interleave(upstreams(10**9, 1, 10**9))
    assert len(turns) <= ROUND_TURNS + 3
    assert {upstream.name for upstream in turns} == {"blue-0", "blue-1", "blue-2"}


@pytest.mark.parametrize(("warmth", "turns"), [(0.1, 10), (0.55, 55), (1.0, 100)])
def test_an_upstream_that_warms_up_has_that_share_of_its_turns(warmth: float, turns: int) -> None:
    cold, *warm = upstreams(1, 1, 2)
    cold.warm(warmth)
    had = Counter(upstream.name for upstream in interleave([cold, *warm]))
    assert had["blue-0"] * 100 == turns * had["blue-1"]
    assert had["blue-2"] == 2 * had["blue-1"]
