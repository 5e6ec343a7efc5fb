"""Slow start: an upstream that has just become healthy gets a part of its weight, growing evenly to all of it.

Caches are cold and code is not compiled yet; a full share of the traffic could make it fail again.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from bgproxy.routing.upstream import LiveUpstream

# What it begins with. Less would leave it cold.
FIRST_SHARE: Final = 0.1
# How often weights change; every change of them makes a new round of turns.
STEP_S: Final = 1.0


class WarmUp:
    """Those of `candidates` that warm up."""

    __slots__ = ("_next_step", "_slow_start_s", "warming")

    def __init__(self, slow_start_s: float, candidates: Iterable[LiveUpstream]) -> None:
        self._slow_start_s = slow_start_s
        self._next_step = 0.0
        self.warming = [upstream for upstream in candidates if upstream.warm_since is not None]
        for upstream in self.warming:
            if upstream.warm_since == inf:
                upstream.warm(FIRST_SHARE)

    def begin(self, upstreams: Iterable[LiveUpstream]) -> None:
        """They are back from an ejection; their time runs from the tick that follows."""
        for upstream in upstreams:
            upstream.warm_since = inf
            upstream.warm(FIRST_SHARE)
            if upstream not in self.warming:
                self.warming.append(upstream)
            self._next_step = 0.0

    def tick(self, now: float) -> bool:
        """Brings weights up to what is due; True if it has."""
        if not self.warming or now < self._next_step:
            return False
        self._next_step = now + STEP_S
        still = []
        for upstream in self.warming:
            since = upstream.warm_since
            if since is None or since == inf:
                since = upstream.warm_since = now
            upstream.warm(warmth(now - since, self._slow_start_s))
            if upstream.warmth < 1.0:
                still.append(upstream)
            else:
                upstream.warm_since = None
        self.warming = still
        return True


def skip(upstream: LiveUpstream) -> None:
    """Gives it all of its weight at once: slow start is off."""
    if upstream.warm_since is not None:
        upstream.warm_since = None
        upstream.warm(1.0)


def warmth(age_s: float, slow_start_s: float) -> float:
    """The share of its weight that an upstream of this age gets."""
    return min(1.0, FIRST_SHARE + (1.0 - FIRST_SHARE) * age_s / slow_start_s)
