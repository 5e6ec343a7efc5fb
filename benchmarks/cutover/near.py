"""Latency near switches beside latency elsewhere, and how far the latter varies by itself. Pure.

It must never call a difference noise that time without a switch does not show.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from benchmarks.cutover.yardstick import Commit
from benchmarks.zero_downtime_report import Switch
from bgproxy.demo.ledger import NEAR_S, Request, quantile

SHARE: Final = 0.99  # the percentile that is compared
BLOCK_S: Final = 2 * NEAR_S
DRAWS: Final = 400
# Of the draws without a switch: what is above has one chance in forty to be noise.
NOISE: Final = (0.025, 0.975)
SEED: Final = 1  # the same books give the same verdict


class Latency(NamedTuple):
    """Seconds, sorted. `noise` is where 95 % of the percentiles lie of as many requests that are near no switch."""

    near: list[float]
    elsewhere: list[float]
    noise: tuple[float, float]


def compare(requests: Iterable[Request], switches: Sequence[Switch], commits: Sequence[Commit]) -> Latency:
    """Of successful requests; those that take long on purpose would hide the others.

    What is near a commit is neither near a switch nor elsewhere: it is a disturbance of our own.
    """
    changes = Windows([(each.sent, each.acked) for each in switches])
    disturbances = Windows([(each.began, each.ended) for each in commits])
    near: list[float] = []
    blocks: defaultdict[int, list[float]] = defaultdict(list)
    for each in requests:
        if not each.ok or each.path == "/slow":
            continue
        if changes.touch(each):
            near.append(each.ended - each.started)
        elif not disturbances.touch(each):
            blocks[int(each.started // BLOCK_S)].append(each.ended - each.started)
    elsewhere = sorted(seconds for block in blocks.values() for seconds in block)
    return Latency(sorted(near), elsewhere, _noise(list(blocks.values()), len(near)))


class Windows:
    """What is near these times, which are in order."""

    def __init__(self, times: Sequence[tuple[float, float]]) -> None:
        self._begins = [begin - NEAR_S for begin, _ in times]
        self._ends = [end + NEAR_S for _, end in times]

    def touch(self, request: Request) -> bool:
        index = bisect_left(self._ends, request.started)
        return index < len(self._ends) and self._begins[index] <= request.ended


# Private


def _noise(blocks: Sequence[list[float]], size: int) -> tuple[float, float]:
    """Whole blocks are drawn, because requests of one moment fare alike."""
    if not blocks or not size:
        return float("nan"), float("nan")
    chance = random.Random(SEED)
    ordered = [sorted(block) for block in blocks]
    found = []
    for _ in range(DRAWS):
        drawn: list[float] = []
        while len(drawn) < size:
            drawn += chance.choice(ordered)
        found.append(quantile(sorted(drawn), SHARE))
    found.sort()
    return quantile(found, NOISE[0]), quantile(found, NOISE[1])
