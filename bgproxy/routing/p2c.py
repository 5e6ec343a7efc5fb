"""The better of two: an upstream's load by what is in flight there and by how slow it has been lately.

Owns what a worker knows of latencies: their peak-sensitive moving average, as Finagle has it. A slow answer
counts at once and in full, a fast one takes the time constant to make up for it. Two candidates drawn
blindly are enough (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001), whatever
the size of the pool, and unlike "the best of all" they do not send everybody to the same upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Final

from bgproxy.routing.upstream import LiveUpstream

# After this time without news an old latency counts about a third.
DECAY_S: Final = 10.0
# And after this time it is forgotten: one request finds out.
FORGET_S: Final = 6 * DECAY_S
# A request that waits for an upstream of unknown latency is taken to take so long.
UNKNOWN_US: Final = 1_000_000.0
# A failure counts as twice the latency so far, and at most as this, or as long as it took: an upstream that
# refuses everything quickly must not look fast.
FAILED_US: Final = 1_000_000.0

# Knuth's linear congruential generator modulo 2^64, of whose state the upper bits are used: random enough
# for this, and reproducible.
_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407
_MASK: Final = 2**64 - 1


class TwoChoices:
    """The latest time that was heard of, and the source of the draws. Outlives snapshots, like the upstreams."""

    __slots__ = ("_now", "_state")

    def __init__(self) -> None:
        self._now = 0.0
        self._state = 0

    def choose(self, ready: Sequence[LiveUpstream]) -> LiveUpstream:
        """The less loaded of two distinct ones, of at least two."""
        self._state = state = (self._state * _MULTIPLIER + _INCREMENT) & _MASK
        count = len(ready)
        index = ((state >> 48) * count) >> 16
        other = (((state >> 32) & 0xFFFF) * (count - 1)) >> 16
        first, second = ready[index], ready[other + (other >= index)]
        return second if self.cost(second) < self.cost(first) else first

    def cost(self, upstream: LiveUpstream) -> float:
        """How long one more request would take there; a weight of 2 counts as twice as fast."""
        latency_us = upstream.latency_us
        age_s = self._now - upstream.heard_at
        if latency_us == 0.0 or age_s > FORGET_S:
            return upstream.in_flight * UNKNOWN_US / upstream.weight
        if age_s > 0.0:
            latency_us *= exp(-age_s / DECAY_S)
        return (upstream.in_flight + 1) * latency_us / upstream.weight

    def observe(self, upstream: LiveUpstream, duration_us: float, now: float, *, failed: bool) -> None:
        known_us = upstream.latency_us
        age_s = now - upstream.heard_at
        if age_s > FORGET_S:
            known_us = 0.0
        if failed:
            duration_us = max(duration_us, min(2 * known_us or FAILED_US, FAILED_US))
        if duration_us >= known_us:
            upstream.latency_us = duration_us
        elif age_s > 0.0:
            upstream.latency_us = duration_us + (known_us - duration_us) * exp(-age_s / DECAY_S)
        upstream.heard_at = self._now = now
