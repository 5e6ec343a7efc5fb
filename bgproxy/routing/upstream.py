"""One address of a pool, with what this worker knows and holds of it.

`LiveUpstream` is the worker's own counterpart of a snapshot's entry: what it counts and caches outlives a
snapshot as long as the upstream does. It decides nothing; the other files of this folder do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from bgproxy.http1.head import ResponseHead
from bgproxy.model import Health, UpstreamView


class LiveUpstream:
    __slots__ = (
        "address",
        "cells",
        "ejected_until",
        "ejections",
        "failures",
        "full_weight",
        "health",
        "heard_at",
        "idle",
        "in_flight",
        "latency_us",
        "logged",
        "name",
        "observe",
        "response_memo",
        "retired",
        "tag",
        "warm_since",
        "warmth",
        "weight",
    )

    def __init__(self, view: UpstreamView, cells: memoryview[int]) -> None:
        self.tag = view.tag
        self.name = view.name
        self.address = view.address
        self.cells = cells
        self.in_flight = 0
        self.idle: list[Any] = []  # the keepalive cache: proxy.keepalive's, last in, first out
        self.response_memo: ResponseHead | None = None  # the last response's head
        self.logged: Any = None  # what the access log has made of its place
        self.retired = False  # traffic has left it: keep no connection
        # Takes (failed, duration in microseconds, monotonic time) of every attempt that has ended; None if
        # nobody wants to know.
        self.observe: Callable[[bool, int, float], None] | None = None
        # what it may take
        self.health = view.health
        self.full_weight = view.weight
        self.weight: int | float = view.weight  # what balancing goes by: `full_weight` times `warmth`
        # of routing.warmup
        self.warm_since: float | None = None  # inf: from the next tick on; None: it is not warming up
        self.warmth = 1.0
        # of routing.outlier
        self.failures = 0  # in a row
        self.ejections = 0  # in a row
        self.ejected_until = 0.0  # 0.0: it is not ejected
        # of routing.p2c
        self.latency_us = 0.0  # 0.0: unknown
        self.heard_at = 0.0

    def see(self, view: UpstreamView) -> None:
        """Takes over what a new snapshot says of it."""
        if view.weight:
            # Without a weight it leaves its pool; a request that has that pool from an older snapshot may
            # still have to weigh it for a retry.
            self.full_weight = view.weight
            self.warm(self.warmth)
        if view.health is not self.health:
            self.health = view.health
            self.warm_since = inf if view.health is Health.HEALTHY else None
            self.warm(1.0)

    def warm(self, warmth: float) -> None:
        """Sets the share of its weight that it gets."""
        self.warmth = warmth
        self.weight = self.full_weight if warmth == 1.0 else self.full_weight * warmth
