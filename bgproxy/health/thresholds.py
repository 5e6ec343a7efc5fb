"""What the results of checks amount to: healthy or not, since when, and why.

Pure: no I/O and no clock; the caller says what time it is. Nothing here knows targets or schedules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bgproxy.model import Health

if TYPE_CHECKING:
    from bgproxy.model import HealthCheck


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check ended. `reason` is for people, on success too."""

    ok: bool
    reason: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class HealthState:
    """The verdict on one upstream. At most one of `successes` and `failures`, both in a row, is not 0.

    `since` is when `health` last changed; `reason` is that of the last check.
    """

    health: Health
    since: float
    successes: int = 0
    failures: int = 0
    reason: str = "not checked yet"

    @property
    def explanation(self) -> str:
        """`reason`, with what it says where it speaks against `health`: one check more may not be enough to change that."""
        if self.health is Health.HEALTHY and self.failures:
            return f"last check failed: {self.reason}"
        if self.health is Health.UNHEALTHY and self.successes:
            return f"last check passed: {self.reason}"
        return self.reason


def unknown(now: float) -> HealthState:
    """The state of an upstream that nobody has checked."""
    return HealthState(Health.UNKNOWN, now)


def observe(state: HealthState, result: CheckResult, check: HealthCheck, now: float) -> HealthState:
    """The state after one more result. Out of `unknown` the first result decides, as in Envoy."""
    if result.ok:
        successes, failures = state.successes + 1, 0
        decided, enough = Health.HEALTHY, successes >= check.healthy_after
    else:
        successes, failures = 0, state.failures + 1
        decided, enough = Health.UNHEALTHY, failures >= check.unhealthy_after
    health = decided if enough or state.health is Health.UNKNOWN else state.health
    since = state.since if health is state.health else now
    return HealthState(health, since, successes, failures, result.reason)
