"""The drains that are going on: what a pool that was switched away from still carries, and when it is safe
to stop it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bgproxy.engines.base import Engine
from bgproxy.model import Config, Desired
from bgproxy.observability.events import EventLog

# After its deadline a drain is over as soon as nothing is left, and in any case after this.
OVERTIME_S = 5.0


@dataclass(frozen=True, slots=True)
class Drain:
    until: float
    generation: int


class Drains:
    """One drain per service at most: that of the pool which is idle since the last switch."""

    def __init__(self, engine: Engine, events: EventLog) -> None:
        self._engine = engine
        self._events = events
        self._drains: dict[str, Drain] = {}

    def resume(self, desired: Desired) -> None:
        """Takes up the drains that a predecessor had begun and that are not over."""
        for name, state in desired.services.items():
            if state.drain_until is not None and state.drain_until + OVERTIME_S > time.time():
                self._drains[name] = Drain(state.drain_until, state.generation)

    def follow(self, before: Desired, after: Desired) -> None:
        """Begins the drains that a change has brought, each with a deadline of its own."""
        for name, state in after.services.items():
            known = before.services.get(name)
            if state.drain_until is not None and (known is None or known.drain_until != state.drain_until):
                self._drains[name] = Drain(state.drain_until, state.generation)

    def is_draining(self, service: str) -> bool:
        return service in self._drains

    def check(self, config: Config, desired: Desired) -> bool:
        """Ends the drains that are over; True if there were any, and the engine is to be told."""
        ended = False
        for name, drain in list(self._drains.items()):
            service, state = config.services.get(name), desired.services.get(name)
            if service is None or state is None:
                del self._drains[name]
                ended = True
                continue
            pool = service.other(state.active)
            if is_safe_to_stop(self._engine, name, pool, in_use=state.canary is not None):
                self._events.add(
                    "drained", f"{pool} of {name} is empty: it is safe to stop", service=name, pool=pool
                )
            elif time.time() < drain.until + OVERTIME_S:
                continue
            else:
                left = self._engine.traffic(name, pool)
                self._events.add(
                    "drain_timed_out",
                    f"{pool} of {name} is not empty after its drain: {left.in_flight} in flight, "
                    f"{left.tunnels} upgraded connections",
                    service=name,
                    pool=pool,
                )
            del self._drains[name]
            ended = True
        return ended

    def next_deadline(self) -> float | None:
        """When to check again at the latest, if no news come before (Unix time)."""
        deadlines = [drain.until + OVERTIME_S for drain in self._drains.values()]
        return min(deadlines, default=None)


def is_safe_to_stop(engine: Engine, service: str, pool: str, *, in_use: bool) -> bool:
    """True if stopping the pool's upstreams now would disturb nobody: nothing is under way, nothing to come."""
    return not in_use and engine.is_live() is True and engine.traffic(service, pool).is_empty()
