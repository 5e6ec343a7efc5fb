"""Keeps every upstream's health up to date: probes each target at its interval, for ever.

Never runs two probes of one target at once, never more than `MAX_PROBES_AT_ONCE` in all, and never
changes a verdict because the configuration changed: only results do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from bgproxy.health import schedule
from bgproxy.health.checks import Checker
from bgproxy.health.thresholds import CheckResult, HealthState, observe, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bgproxy.model import Health, HealthCheck, UpstreamTls

MAX_PROBES_AT_ONCE = 256
RESTORED_FOR_S = 60.0  # a target that first appears later than this after `restore` is a new one


class TargetKey(NamedTuple):
    service: str
    pool: str
    address: str


@dataclass(frozen=True, slots=True)
class Target:
    service: str
    pool: str
    address: str
    check: HealthCheck
    tls: UpstreamTls | None = None
    name: str = ""  # of the upstream as configured, which its certificate is for

    @property
    def key(self) -> TargetKey:
        return TargetKey(self.service, self.pool, self.address)


@dataclass(frozen=True, slots=True)
class Transition:
    """A target's health changed, for `reason`. `at` is a Unix time."""

    before: Health
    after: Health
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What is known of a target. The last two are of its last check, None before the first."""

    state: HealthState
    checked_at: float | None = None
    duration_s: float | None = None


class Prober:
    """`on_change` is called on the loop, after the new state can be read from `health_of`."""

    def __init__(
        self,
        on_change: Callable[[Target, Transition], None],
        *,
        checker: Checker | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._on_change = on_change
        self._checker = checker or Checker()
        self._clock = clock
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()

        self._probes: dict[TargetKey, _Probe] = {}
        self._restored: dict[TargetKey, HealthState] = {}
        self._restored_until = 0.0

        self._running: set[asyncio.Task[CheckResult]] = set()
        self._waiting: deque[_Probe] = deque()

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Probe exactly these. A target that is checked in another way keeps its health and is checked anew."""
        wanted = {target.key: target for target in targets}
        for key in self._probes.keys() - wanted.keys():
            self._remove(self._probes.pop(key))
        if self._loop.time() > self._restored_until:
            self._restored.clear()
        fresh: list[_Probe] = []
        for key, target in wanted.items():
            probe = self._probes.get(key)
            if probe is None:
                state = self._restored.pop(key, None) or unknown(self._clock())
                probe = self._probes[key] = _Probe(target, TargetStatus(state))
                fresh.append(probe)
            elif probe.target != target:
                probe.target = target
                if probe.timer is not None:
                    fresh.append(probe)
                elif probe.task is not None:
                    probe.task.cancel()  # its end starts the next
        now = self._loop.time()
        for index, probe in enumerate(fresh):
            delay_s = schedule.first_delay_s(index, len(fresh), probe.target.check.interval_s)
            self._start_at(probe, now + delay_s)

    def restore(self, states: Mapping[TargetKey, HealthState]) -> None:
        """What was known before a restart. Applies to targets when they first appear, not to present ones."""
        self._restored = dict(states)
        self._restored_until = self._loop.time() + RESTORED_FOR_S

    def health_of(self, key: TargetKey) -> TargetStatus | None:
        """None for what is not a target."""
        probe = self._probes.get(key)
        return probe.status if probe else None

    def states(self) -> dict[TargetKey, TargetStatus]:
        return {key: probe.status for key, probe in self._probes.items()}

    async def check_now(self, keys: Iterable[TargetKey]) -> None:
        """Return when each of these targets has been checked by a probe that started after this call.

        The results count as any others do. A target that is removed meanwhile is not waited for.
        """
        checked = []
        for key in keys:
            if probe := self._probes.get(key):
                done = self._loop.create_future()
                probe.waiters.append((probe.starts, done))
                checked.append(done)
                if probe.timer is not None:
                    self._start_at(probe, self._loop.time())
        await asyncio.gather(*checked)

    async def close(self) -> None:
        self.set_targets(())
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._checker.close()

    # Private. A probe is at every moment exactly one of: timed, waiting, running, removed.

    def _start_at(self, probe: _Probe, when: float) -> None:
        if probe.timer is not None:
            probe.timer.cancel()
        probe.timer = self._loop.call_at(when, self._due, probe)

    def _due(self, probe: _Probe) -> None:
        probe.timer = None
        if len(self._running) < MAX_PROBES_AT_ONCE:
            self._start(probe)
        else:
            self._waiting.append(probe)

    def _start(self, probe: _Probe) -> None:
        probe.starts += 1
        probe.started_at = self._loop.time()
        target = probe.target
        probe.task = self._loop.create_task(
            self._checker.run(target.address, target.check, target.tls, target.name)
        )
        self._running.add(probe.task)
        # A callback, because a task that is cancelled before its first step runs no `finally`.
        probe.task.add_done_callback(partial(self._ended, probe, target))

    def _ended(self, probe: _Probe, target: Target, task: asyncio.Task[CheckResult]) -> None:
        """Everything is in order again before `on_change` is called: it may raise, or call us back."""
        self._running.discard(task)
        while self._waiting and len(self._running) < MAX_PROBES_AT_ONCE:
            following = self._waiting.popleft()
            if not following.removed:
                self._start(following)
        probe.task = None
        if probe.removed:
            if not task.cancelled():
                task.exception()  # of no interest any more, but asyncio reports what nobody looked at
            return
        result = self._result(probe, task)
        if result is None or probe.target is not target:
            self._start_at(probe, self._loop.time())
            return
        before = probe.status.state
        now = self._clock()
        after = observe(before, result, target.check, now)
        probe.status = TargetStatus(after, now, result.duration_s)
        probe.answer()
        self._start_at(probe, self._next_start(probe))
        if after.health is not before.health:
            self._on_change(target, Transition(before.health, after.health, after.reason, now))

    def _result(self, probe: _Probe, task: asyncio.Task[CheckResult]) -> CheckResult | None:
        if task.cancelled():
            return None
        error = task.exception()
        if error is None:
            return task.result()
        reason = f"the check itself failed: {type(error).__name__}: {error}"
        return CheckResult(ok=False, reason=reason, duration_s=self._loop.time() - probe.started_at)

    def _next_start(self, probe: _Probe) -> float:
        now = self._loop.time()
        if probe.waiters:
            return now
        return schedule.next_start(probe.started_at, probe.target.check.interval_s, self._jitter(), now)

    def _remove(self, probe: _Probe) -> None:
        probe.removed = True
        if probe.timer is not None:
            probe.timer.cancel()
        if probe.task is not None:
            probe.task.cancel()
        probe.starts += 1
        probe.answer()


class _Probe:
    """One target's place in the schedule."""

    __slots__ = ("removed", "started_at", "starts", "status", "target", "task", "timer", "waiters")

    def __init__(self, target: Target, status: TargetStatus) -> None:
        self.target = target
        self.status = status
        self.removed = False

        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[CheckResult] | None = None
        self.starts = 0
        self.started_at = 0.0
        self.waiters: list[tuple[int, asyncio.Future[None]]] = []

    def answer(self) -> None:
        """Tell those who asked for a check before the last one started."""
        if not self.waiters:
            return
        for asked_at, done in self.waiters:
            if asked_at < self.starts and not done.done():
                done.set_result(None)
        self.waiters = [waiter for waiter in self.waiters if waiter[0] >= self.starts]
