"""Which upstreams of a pool get no requests for a while, because those that they got have failed.

So many failures in a row eject an upstream, for `ejection_s` the first time, and for once more that time with
every further ejection that no success has come before, up to `EJECTION_TIMES` times. A share of the pool at
most is ejected at once, and the last upstream that could be chosen never is: where all fail, ejecting helps
nobody. Each worker judges by its own requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bgproxy.model import Outlier
from bgproxy.routing.upstream import LiveUpstream

# The longest ejection, in times of the first one.
EJECTION_TIMES: Final = 10

# Told whenever an upstream was ejected or is back, which its `ejected_until` says.
OnEjection = Callable[[LiveUpstream], None]


class Outliers:
    """The ejected ones among `candidates`, which could all be chosen if nobody were ejected."""

    __slots__ = ("_limits", "_on_ejection", "_places", "ejected")

    def __init__(
        self,
        limits: Outlier,
        upstreams: Sequence[LiveUpstream],
        candidates: Sequence[LiveUpstream],
        on_ejection: OnEjection,
    ) -> None:
        self._limits = limits
        self._on_ejection = on_ejection
        self._places = places(limits.max_ejected, len(candidates))
        self.ejected = [upstream for upstream in candidates if upstream.ejected_until]
        for upstream in upstreams:
            if upstream.ejected_until and upstream not in self.ejected:
                restore(upstream, on_ejection)  # it is kept away by something else; after that it begins anew
        # If others fell ill meanwhile, there may be fewer places than before.
        self.ejected.sort(key=lambda upstream: upstream.ejected_until)
        while len(self.ejected) > self._places:
            restore(self.ejected.pop(0), on_ejection)

    def observe(self, upstream: LiveUpstream, now: float, *, failed: bool) -> bool:
        """Takes the end of an attempt; True if it has ejected the upstream."""
        if upstream.ejected_until:
            return False  # it was chosen before
        if not failed:
            upstream.failures = upstream.ejections = 0
            return False
        upstream.failures += 1
        if upstream.failures < self._limits.consecutive_failures or len(self.ejected) >= self._places:
            return False
        upstream.failures = 0
        upstream.ejections += 1
        upstream.ejected_until = now + self._limits.ejection_s * min(upstream.ejections, EJECTION_TIMES)
        self.ejected.append(upstream)
        self._on_ejection(upstream)
        return True

    def tick(self, now: float) -> list[LiveUpstream]:
        """Those whose time is over: they are back."""
        back = [upstream for upstream in self.ejected if upstream.ejected_until <= now]
        for upstream in back:
            self.ejected.remove(upstream)
            restore(upstream, self._on_ejection)
        return back


def restore(upstream: LiveUpstream, on_ejection: OnEjection) -> None:
    upstream.ejected_until = 0.0
    on_ejection(upstream)


def places(share: float, candidates: int) -> int:
    """How many may be ejected at once: one at least if there is another, unless nobody is to be."""
    return min(max(1, int(share * candidates)), candidates - 1) if share and candidates else 0
