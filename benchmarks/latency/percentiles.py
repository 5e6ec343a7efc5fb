"""Percentiles of all values, none of them estimated. Pure.

A round has some hundred thousand requests: keeping every one is exact, and costs less than a histogram.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

# What is stored of a round: enough to draw it.
CURVE: Final = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)
NS_PER_US: Final = 1000

Curve = dict[str, float]


def name(percentile: float) -> str:
    return f"p{percentile:g}"


def at(ordered: Sequence[int], percentile: float) -> int:
    """The smallest value that so many percent of the values do not exceed."""
    # 99.9 is not quite 99.9 in binary, and one value more would be the wrong one.
    rank = math.ceil(round(percentile * len(ordered) / 100, 6))
    return ordered[max(rank, 1) - 1]


def curve_us(values_ns: Iterable[int]) -> Curve:
    ordered = sorted(values_ns)
    return {name(percentile): at(ordered, percentile) / NS_PER_US for percentile in CURVE}
