"""When checks start: evenly spread at first, then at an interval with jitter.

Pure: the time and the random numbers (0 <= r < 1) come from the caller.
"""

from __future__ import annotations

FIRST_CHECKS_WITHIN_S = 1.0
FIRST_CHECKS_APART_S = 0.002  # what a batch small enough for it is spaced by
JITTER = 0.1  # of the interval, both ways, so that targets added together drift apart


def first_delay_s(index: int, count: int, interval_s: float) -> float:
    """How long the check of target `index` of `count` added together waits; the first never does."""
    return index * min(FIRST_CHECKS_APART_S, min(FIRST_CHECKS_WITHIN_S, interval_s) / count)


def jittered(interval_s: float, random: float) -> float:
    return interval_s * (1.0 - JITTER + 2.0 * JITTER * random)


def next_start(started: float, interval_s: float, random: float, now: float) -> float:
    """Intervals run from start to start; a check that took longer than one is followed at once."""
    return max(now, started + jittered(interval_s, random))
