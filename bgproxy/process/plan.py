"""What the supervisor and the workers have to know of a configuration before there is a snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from bgproxy.model import AccessLog, Config, Listener


@dataclass(frozen=True, slots=True)
class Plan:
    """Travels as JSON from the controller, which reads configurations, to the supervisor, which does not."""

    listeners: tuple[Listener, ...]
    workers: int
    admin: str
    shutdown_timeout_s: float
    access_log: AccessLog | None = None

    @classmethod
    def of(cls, config: Config) -> Plan:
        return cls(
            config.listeners, config.workers, config.admin.bind, config.shutdown_timeout_s, config.access_log
        )

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        return msgspec.convert(value, cls)

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def has_same_workers(self, other: Plan) -> bool:
        """True if the workers that serve one of the plans may serve the other."""
        return (self.listeners, self.workers, self.access_log) == (
            other.listeners,
            other.workers,
            other.access_log,
        )
