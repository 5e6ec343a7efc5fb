"""The order in which the upstreams of a pool take turns: weighted round robin as one fixed round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bgproxy.routing.upstream import LiveUpstream

# Weights are scaled down until a round has about this many turns.
ROUND_TURNS: Final = 4096
# The weight of an upstream that warms up counts in steps of this share.
WARMTH_STEPS: Final = 100


def interleave(upstreams: Sequence[LiveUpstream]) -> tuple[LiveUpstream, ...]:
    """One round of weighted round robin, each upstream's turns spread evenly over it.

    Upstreams of equal weight take turns in the place of one that has the weight of all of them. Turn k of
    such a one of weight w falls due at (k + 1/2) / w: earliest deadline first, as in weighted fair queueing.
    """
    if len({upstream.weight for upstream in upstreams}) <= 1:
        return tuple(upstreams)
    total = sum(upstream.weight for upstream in upstreams)
    steps = 1 if all(upstream.warmth == 1.0 for upstream in upstreams) else WARMTH_STEPS
    scale = min(float(steps), ROUND_TURNS / total)
    equals: dict[int, list[int]] = {}
    for index, upstream in enumerate(upstreams):
        equals.setdefault(max(1, round(upstream.weight * scale)), []).append(index)
    due: list[tuple[float, int]] = []
    for weight, indexes in equals.items():
        turns = weight * len(indexes)
        due += [((turn + 0.5) / turns, indexes[turn % len(indexes)]) for turn in range(turns)]
    return tuple(upstreams[index] for _, index in sorted(due))
