"""What an operator asks for, as values; the admin API makes them of JSON, tests by hand."""

from __future__ import annotations

from dataclasses import dataclass

# A hold keeps requests only as long as people do not notice, and only as many as memory allows.
HOLD_TIMEOUT_S = 10.0
HOLD_REQUESTS = 10_000
HOLD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and the guards of every change. `key` is an Idempotency-Key with its call's fingerprint."""

    actor: str
    reason: str = ""
    dry_run: bool = False
    if_generation: int | None = None
    key: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """Per worker: `max_requests` and `max_bytes` of what is parked; for all: how long at most."""

    timeout_s: float = HOLD_TIMEOUT_S
    max_requests: int = HOLD_REQUESTS
    max_bytes: int = HOLD_BYTES
