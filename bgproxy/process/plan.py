"""What the supervisor has to know of a configuration: sockets and processes, nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bgproxy.model import Config, Listener


@dataclass(frozen=True, slots=True)
class Plan:
    """Travels as JSON from the controller, which reads configurations, to the supervisor, which does not."""

    listeners: tuple[Listener, ...]
    workers: int
    admin: str
    shutdown_timeout_s: float

    @classmethod
    def of(cls, config: Config) -> Plan:
        return cls(config.listeners, config.workers, config.admin.bind, config.shutdown_timeout_s)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        listeners = tuple(Listener(**listener) for listener in value["listeners"])
        return cls(listeners, value["workers"], value["admin"], value["shutdown_timeout_s"])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
