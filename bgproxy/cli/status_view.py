"""`GET /admin/status` as tables: one for each service, its two pools side by side. Pure.

Shows with words what it shows with colours: both have to be readable alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bgproxy.cli import lines
from bgproxy.cli.rates import Key, Rate, failed
from bgproxy.cli.wording import NOTHING, bar, clock, count, milliseconds, percent, printable, span

BAR_CELLS = 20

_MARKS = {"healthy": ("●", "green"), "unhealthy": ("✗", "bold red"), "unknown": ("?", "yellow")}

Rates = Mapping[Key, Rate]


def status_view(status: dict[str, Any], now: float, rates: Rates | None = None) -> RenderableType:
    """`rates` adds what the last second brought, which needs an earlier status."""
    workers = len(status["workers"])
    services = [_service(service, now, workers, rates) for service in status["services"]]
    return Group(_instance(status, now), *services)


# Private


def _instance(status: dict[str, Any], now: float) -> Text:
    up = span(now - status["controller"]["started_at"])
    build = " (compiled)" if status.get("compiled") else ""
    line = Text(f"bgproxy {printable(status['version'])}{build}   ")
    line.append(f"generation {status['generation']}", style="bold")
    line.append(f"   controller up {up}\n")
    return line.append_text(_workers(status))


def _workers(status: dict[str, Any]) -> Text:
    workers = status["workers"]
    serving = [worker for worker in workers if worker["state"] == "serving"]
    parts = [f"workers {len(serving)} serving"]
    if len(serving) < len(workers):
        parts.append(f"{len(workers) - len(serving)} draining")
    parts += [
        count(sum(worker["connections"] for worker in workers), "connection"),
        f"{count(sum(worker['parked'] for worker in workers))} parked",
    ]
    line = Text(", ".join(parts), style="" if serving else "bold red")
    late = [str(worker["pid"]) for worker in workers if not worker["current"]]
    if late:
        line.append(f", not yet on the newest snapshot: {', '.join(late)}", style="yellow")
    return line


def _service(service: dict[str, Any], now: float, workers: int, rates: Rates | None) -> RenderableType:
    pools = service["pools"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for name in pools:
        table.add_column(Text(printable(name), style="bold"))
    # The more it matters in a release, the further above: a small screen shows the beginning.
    rows = [*_sides(service), *([] if rates is None else _traffic(service["service"], pools, rates))]
    rows.append(("upstreams", [_upstreams(pool, now, workers) for pool in pools.values()]))
    rows += _counts(service)
    for label, cells in rows:
        table.add_row(Text(label, style="dim"), *cells)
    title = Text("\n").append(printable(service["service"]), style="bold underline")
    title.append(f"   generation {service['generation']}")
    if service.get("proxy_errors"):
        title.append(f"   {count(service['proxy_errors'], 'error')} of bgproxy's own", style="red")
    return Group(title, *_notes(service, now), Text(), table)


def _notes(service: dict[str, Any], now: float) -> list[Text]:
    notes = []
    canary, hold, drain = (service.get(name) for name in ("canary", "hold", "drain"))
    if service.get("maintenance"):
        notes.append(Text(lines.maintenance(service["maintenance"]), style="bold yellow"))
    if service.get("queued"):
        notes.append(
            Text(f"{count(service['queued'], 'request')} queued: upstreams are busy", style="yellow")
        )
    if canary:
        share = bar(canary["weight"] / 100, BAR_CELLS)
        notes.append(Text(f"{share}  {lines.canary(canary)} to {printable(service['idle'])}", style="cyan"))
    if hold:
        parked = count(hold["parked"], "request")
        end = f"{clock(hold['until'])}, {span(hold['until'] - now)} left"
        notes.append(Text(f"hold: {parked} parked until {end}", style="yellow"))
    if drain:
        notes.append(Text("drain ").append_text(Text.from_ansi(lines.draining(drain, now))))
    return notes


def _sides(service: dict[str, Any]) -> list[tuple[str, list[Text]]]:
    versions = [pool["version"] or NOTHING for pool in service["pools"].values()]
    return [
        ("role", [_role(name, service) for name in service["pools"]]),
        ("version", [Text(printable(version)) for version in versions]),
    ]


def _counts(service: dict[str, Any]) -> list[tuple[str, list[Text]]]:
    pools = list(service["pools"].values())
    return [
        ("in flight", [_in_flight(pool) for pool in pools]),
        ("requests", [Text(count(pool["requests"])) for pool in pools]),
        ("errors", [_errors(pool) for pool in pools]),
        ("p50 / p99", [_latency(pool["latency_ms"]) for pool in pools]),
        ("safe to stop", [_safe_to_stop(pool) for pool in pools]),
    ]


def _role(name: str, service: dict[str, Any]) -> Text:
    if name == service["active"]:
        return Text("ACTIVE", style="bold green")
    if service.get("canary"):
        return Text(f"canary {percent(service['canary']['weight'] / 100)}", style="cyan")
    if service.get("drain") and service["drain"]["pool"] == name and not service["drain"]["safe_to_stop"]:
        return Text("idle, draining", style="yellow")
    return Text("idle", style="dim")


def _in_flight(pool: dict[str, Any]) -> Text:
    text = Text(count(pool["in_flight"]))
    if pool.get("tunnels"):
        text.append(f" + {lines.tunnels(pool['tunnels'])}")
    return text


def _safe_to_stop(pool: dict[str, Any]) -> Text:
    """Of what speaks against it, all but the idle connections is to be seen above."""
    if pool["safe_to_stop"]:
        return Text("yes")
    idle = pool.get("idle_connections") if pool["role"] == "idle" else 0
    return Text(f"no, {count(idle, 'idle connection')}" if idle else "no")


def _errors(pool: dict[str, Any]) -> Text:
    errors, requests = failed(pool), pool["requests"]
    if not errors:
        return Text("0")
    return Text(f"{count(errors)}  {percent(min(errors / max(requests, 1), 1.0))}", style="red")


def _latency(latency_ms: dict[str, float | None]) -> Text:
    return Text(f"{milliseconds(latency_ms.get('p50'))} / {milliseconds(latency_ms.get('p99'))}")


def _traffic(service: str, pools: dict[str, Any], rates: Rates) -> list[tuple[str, list[Text]]]:
    found = [rates.get((service, pool)) for pool in pools]
    unknown = Text(NOTHING, style="dim")
    return [
        ("now", [Text(f"{rate.requests_per_s:,.0f} req/s") if rate else unknown for rate in found]),
        ("errors now", [_error_rate(rate) if rate else unknown for rate in found]),
        ("share now", [_share(rate) if rate else unknown for rate in found]),
    ]


def _error_rate(rate: Rate) -> Text:
    return Text(percent(rate.errors), style="bold red" if rate.errors else "")


def _share(rate: Rate) -> Text:
    if rate.share is None:
        return Text(f"{bar(0, BAR_CELLS)} {NOTHING}", style="dim")
    return Text(f"{bar(rate.share, BAR_CELLS)} {rate.share * 100:.1f} %")


def _upstreams(pool: dict[str, Any], now: float, workers: int) -> Text:
    rows = [_upstream(upstream, now, workers) for upstream in pool["upstreams"]]
    return Text("\n").join(rows) if rows else Text("none", style="yellow")


def _upstream(upstream: dict[str, Any], now: float, workers: int) -> Text:
    mark, style = _MARKS.get(upstream["health"], _MARKS["unknown"])
    text = Text(f"{mark} ", style=style).append(printable(upstream["upstream"]), style="default")
    if upstream["weight"] != 1:
        text.append(f" weight {upstream['weight']}", style="dim")
    text.append(f"  {printable(upstream['health'])}")
    if upstream.get("ejected"):
        text.append(f", ejected by {upstream['ejected']} of {count(workers, 'worker')}", style="yellow")
    if upstream.get("since"):
        text.append(f" {span(now - upstream['since'])}", style="dim")
    if upstream.get("reason"):
        text.append(f"  {printable(upstream['reason'])}", style="dim")
    if upstream.get("in_flight"):
        text.append(f"  {count(upstream['in_flight'])} in flight", style="dim")
    return text
