"""Tables besides the status: the history, and what a configuration has. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bgproxy.cli.wording import NOTHING, count, milliseconds, moment, printable
from bgproxy.config.quantities import format_duration

if TYPE_CHECKING:
    from bgproxy.model import Config, HealthCheck

_OUTCOMES = {"done": "green", "refused": "yellow", "timed_out": "red", "failed": "red"}


def history_table(entries: list[dict[str, Any]]) -> RenderableType:
    if not entries:
        return Text("nothing has been changed yet")
    table = _table(
        "id", "time", "generation", "action", "services", "pools", "actor", "outcome", "took", "why"
    )
    for entry in entries:
        outcome = Text(printable(entry["outcome"]), style=_OUTCOMES.get(entry["outcome"], ""))
        if entry.get("forced"):
            outcome.append(" forced", style="yellow")
        pools = " → ".join(pool for pool in (entry.get("from_pool"), entry.get("to_pool")) if pool)
        why = [part for part in (entry.get("reason"), entry.get("detail")) if part]
        table.add_row(
            *map(_cell, (entry["id"], moment(entry["time"]), _generations(entry), entry["action"])),
            *map(_cell, (", ".join(entry["services"]), pools, entry["actor"])),
            outcome,
            _cell(milliseconds(entry.get("duration_ms") or None)),
            _cell("; ".join(map(str, why))),
        )
    return table


def configuration_table(config: Config) -> RenderableType:
    services = _table("service", "hosts", "paths", "active at first", "pools", "balance", "health check")
    for service in config.services.values():
        pools = [
            f"{name} {pool.version} ({count(len(pool.upstreams), 'upstream')})".replace("  ", " ")
            for name, pool in service.pools.items()
        ]
        services.add_row(
            *map(_cell, (service.name, ", ".join(service.hosts) or "any", ", ".join(service.paths))),
            *map(_cell, (service.active, ", ".join(pools), service.policy.balance, _health(service.health))),
        )
    listeners = _table("listener", "bind", "leads to")
    for listener in config.listeners:
        leads_to = "idle pools (preview)" if listener.preview else "active pools"
        listeners.add_row(*map(_cell, (listener.name, listener.bind, leads_to)))
    admin = f"admin API {config.admin.bind}, {count(len(config.admin.tokens), 'token')}"
    groups = [f"group {name}: {', '.join(members)}" for name, members in config.groups.items()]
    rest = [admin, f"state {config.state_backend}", count(config.workers, "worker"), *groups]
    return Group(services, Text(), listeners, Text(), Text("\n".join(map(printable, rest))))


def configuration_json(config: Config) -> dict[str, Any]:
    """The same facts for scripts. No secret is among them."""
    return {
        "services": {
            service.name: {
                "hosts": list(service.hosts),
                "paths": list(service.paths),
                "active": service.active,
                "pools": {
                    name: {"version": pool.version, "upstreams": [one.address for one in pool.upstreams]}
                    for name, pool in service.pools.items()
                },
            }
            for service in config.services.values()
        },
        "listeners": [
            {"name": listener.name, "bind": listener.bind, "preview": listener.preview}
            for listener in config.listeners
        ],
        "admin": {"bind": config.admin.bind, "tokens": [token.name for token in config.admin.tokens]},
        "groups": {name: list(members) for name, members in config.groups.items()},
        "workers": config.workers,
    }


# Private


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cell(value: object) -> Text:
    return Text(printable(value))


def _generations(entry: dict[str, Any]) -> str:
    before, after = entry.get("generation_from"), entry.get("generation_to")
    return f"{NOTHING if before is None else before} → {NOTHING if after is None else after}"


def _health(check: HealthCheck) -> str:
    what = {"http": f"{check.method} {check.path}", "command": " ".join(check.command)}.get(check.kind, "tcp")
    return f"{what} every {format_duration(check.interval_s)}"
