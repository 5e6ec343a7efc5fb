"""How answers, events and the history say things. Pure; knows no state but what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bgproxy.errors import ControlError
from bgproxy.model import Canary, Config, Maintenance
from bgproxy.switch.decide import Move

Answer = dict[str, Any]


def canary_json(canary: Canary | None) -> Answer | None:
    if canary is None:
        return None
    match = [{rule.kind: rule.name, "value": rule.value} for rule in canary.match]
    return {"weight": canary.weight, "match": match, "salt": canary.salt}


def maintenance_json(maintenance: Maintenance | None) -> Answer | None:
    if maintenance is None:
        return None
    return {"retry_after": maintenance.retry_after_s, "reason": maintenance.reason}


def route(planned: Sequence[Move]) -> Answer:
    """Where a switch goes; `service`, `from` and `to` only if they are the same for all of it."""
    sources, targets = {move.source for move in planned}, {move.target for move in planned}
    return {
        "service": planned[0].service if len(planned) == 1 else None,
        "from": sources.pop() if len(sources) == 1 else None,
        "to": targets.pop() if len(targets) == 1 else None,
        "services": [{"service": move.service, "from": move.source, "to": move.target} for move in planned],
    }


def named(names: Sequence[str]) -> Answer:
    return {"service": names[0] if len(names) == 1 else None, "services": list(names)}


def would(action: str, refusal: ControlError | None = None) -> Answer:
    """The head of the answer to a dry run."""
    return {
        "dry_run": True,
        "would": action,
        "allowed": refusal is None,
        "refusal": None if refusal is None else refusal.detail,
    }


def describe_changes(before: Config, after: Config) -> list[str]:
    """What an operator would say is different; empty if nothing is."""
    changes = [f"service {name} removed" for name in before.services if name not in after.services]
    for name, service in after.services.items():
        if name not in before.services:
            changes.append(f"service {name} added")
        elif before.services[name] != service:
            changes.append(f"service {name} changed")
    settings = {
        "listeners": "listeners",
        "workers": "workers",
        "admin": "admin",
        "groups": "groups",
        "shutdown_timeout_s": "shutdown.timeout",
        "access_log": "access_log",
    }
    changes += [
        f"{name} changed" for key, name in settings.items() if getattr(before, key) != getattr(after, key)
    ]
    return changes


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
