"""Which upstream of a pool gets a request.

`LiveUpstream` and `LivePool` are a worker's own counterparts of the snapshot's entries: what they count
and cache outlives a snapshot as long as the upstream does.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final

from bgproxy.model import Balance, Health, PoolView, UpstreamView, WhenUnhealthy

# least_conn compares at most this many upstreams, beginning with the one in turn (so that weights count
# while all are idle): all of a small pool, and of a large one a sample whose minimum is as good
# (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001), so that the cost does not
# grow with the pool.
LEAST_CONN_SAMPLE: Final = 8
# Weights are scaled down until a round-robin sequence has at most this many turns.
ROUND_ROBIN_TURNS: Final = 4096


class LiveUpstream:
    """One address that requests are sent to, with what this worker knows and holds of it."""

    __slots__ = (
        "address",
        "cells",
        "idle",
        "in_flight",
        "name",
        "response_memo",
        "retired",
        "tag",
        "weight",
    )

    def __init__(self, view: UpstreamView, cells: memoryview[int]) -> None:
        self.tag = view.tag
        self.name = view.name
        self.address = view.address
        self.weight = view.weight
        self.cells = cells
        self.in_flight = 0
        self.idle: list[Any] = []  # the keepalive cache: proxy.keepalive's, last in, first out
        self.response_memo: Any = None  # the last response's head, see http1.head
        self.retired = False  # traffic has left it: keep no connection


class LivePool:
    """A pool as this worker balances over it. `choose` is the whole interface."""

    __slots__ = ("_balance", "_distinct", "_looks", "_turn", "_turns", "name", "upstreams", "version")

    def __init__(
        self,
        view: PoolView,
        balance: Balance,
        when_unhealthy: WhenUnhealthy,
        live: Callable[[UpstreamView], LiveUpstream],
        turn: int = 0,
    ) -> None:
        self.name = view.name
        self.version = view.version
        entries = [(entry, live(entry)) for entry in view.upstreams]
        self.upstreams = tuple(upstream for _, upstream in entries)
        usable = [(entry, upstream) for entry, upstream in entries if entry.weight > 0]
        healthy = [upstream for entry, upstream in usable if entry.health is Health.HEALTHY]
        if not healthy and when_unhealthy is WhenUnhealthy.TRY_ALL:
            healthy = [upstream for _, upstream in usable]
        self._balance = balance
        self._distinct = tuple(healthy)
        self._turns = interleave(healthy)
        # What least_conn compares the upstream in turn with. Without weights that one is the first of them.
        self._looks = min(LEAST_CONN_SAMPLE - 1, len(healthy) - (len(self._turns) == len(healthy)))
        self._turn = turn

    def __bool__(self) -> bool:
        """True if there is an upstream that may be chosen."""
        return bool(self._turns)

    @property
    def turn(self) -> int:
        return self._turn

    def choose(self, tried: Container[LiveUpstream] = ()) -> LiveUpstream | None:
        """The upstream for the next request, none of `tried`; None if there is no other."""
        turns = self._turns
        count = len(turns)
        if count == 0:
            return None
        turn = self._turn + 1
        if turn >= count:
            turn = 0
        self._turn = turn
        if tried:
            return self._choose_other(tried, turn)
        if count == 1 or self._balance is not Balance.LEAST_CONN:
            return turns[turn]
        best = turns[turn]
        best_load = best.in_flight / best.weight
        if best_load:
            others = self._distinct
            count = len(others)
            turn %= count
            left = self._looks
            while best_load and left:
                left -= 1
                turn += 1
                if turn >= count:
                    turn = 0
                other = others[turn]
                load = other.in_flight / other.weight
                if load < best_load:
                    best, best_load = other, load
        return best

    # Private

    def _choose_other(self, tried: Container[LiveUpstream], turn: int) -> LiveUpstream | None:
        others = [
            upstream for upstream in (*self._turns[turn:], *self._turns[:turn]) if upstream not in tried
        ]
        if not others:
            return None
        if self._balance is not Balance.LEAST_CONN:
            return others[0]
        return min(others, key=lambda upstream: upstream.in_flight / upstream.weight)


def interleave(upstreams: list[LiveUpstream]) -> tuple[LiveUpstream, ...]:
    """One round of weighted round robin, each upstream's turns spread evenly over it.

    Upstreams of equal weight take turns in the place of one that has the weight of all of them. Turn k of
    such a one of weight w falls due at (k + 1/2) / w: earliest deadline first, as in weighted fair queueing.
    """
    if len({upstream.weight for upstream in upstreams}) <= 1:
        return tuple(upstreams)
    total = sum(upstream.weight for upstream in upstreams)
    scale = min(1.0, ROUND_ROBIN_TURNS / total)
    equals: dict[int, list[int]] = {}
    for index, upstream in enumerate(upstreams):
        equals.setdefault(upstream.weight, []).append(index)
    due: list[tuple[float, int]] = []
    for weight, indexes in equals.items():
        turns = max(1, round(weight * scale)) * len(indexes)
        due += [((turn + 0.5) / turns, indexes[turn % len(indexes)]) for turn in range(turns)]
    return tuple(upstreams[index] for _, index in sorted(due))
