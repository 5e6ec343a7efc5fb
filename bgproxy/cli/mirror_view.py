"""`GET /admin/mirror` as text and tables: how the copies went, how fast both pools were, what differed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bgproxy.cli.wording import NOTHING, clock, count, milliseconds, percent, printable

_UNCOMPARED_BODIES = {"too_large": "body too large to compare", "unfinished": "body without an end"}


def mirror_view(answer: dict[str, Any]) -> RenderableType:
    if answer["share"] is None and not answer["totals"]["mirrored"]:
        name = printable(answer["service"])
        return Text(f"{name} has no mirror: give it one with `mirror: {{share: 10%}}` and reload")
    return Group(_head(answer), _totals(answer), _latencies(answer), Text(), _differences(answer))


# Private


def _head(answer: dict[str, Any]) -> Text:
    share = "no" if answer["share"] is None else percent(answer["share"]) + " of the safe"
    line = Text(printable(answer["service"]), style="bold")
    return line.append(f"   {share} requests to {answer['active']} are copied to {answer['idle']}", style="")


def _totals(answer: dict[str, Any]) -> Text:
    totals = answer["totals"]
    line = Text(
        f"{count(totals['mirrored'], 'copy').replace('copys', 'copies')}: {count(totals['same'])} same"
    )
    for name, style in (("different", "bold yellow"), ("failed", "bold red")):
        line.append(f", {count(totals[name])} {name}", style=style if totals[name] else "")
        parts = [
            f"{what.replace('_', ' ')} {count(number)}" for what, number in answer[name].items() if number
        ]
        if parts:
            line.append(f" ({', '.join(parts)})")
    for name, words in (("uncompared", "not compared"), ("left_out", "left out")):
        if totals[name]:
            line.append(f", {count(totals[name])} {words}")
    return line


def _latencies(answer: dict[str, Any]) -> Text:
    latency = answer["latency_ms"]
    sides = [
        f"{printable(answer[side])} p50 {milliseconds(latency[side]['p50'])}, p95 {milliseconds(latency[side]['p95'])}"
        for side in ("active", "idle")
    ]
    return Text(f"latency of the last {count(latency['samples'])}: {'; '.join(sides)}")


def _differences(answer: dict[str, Any]) -> RenderableType:
    if not answer["differences"]:
        return Text("no differences are kept")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("time", "request", "active", "idle", "what differs"):
        table.add_column(column, overflow="fold")
    for each in answer["differences"]:
        table.add_row(
            clock(each["time"]),
            printable(f"{each['method']} {each['path']}"),
            *(_side(each[side]) for side in ("active", "idle")),
            printable("; ".join(_what(each)) or NOTHING),
        )
    return table


def _side(side: dict[str, Any]) -> str:
    return printable(f"{side['pool']} {side['status']} in {milliseconds(side['latency_us'] / 1000)}")


def _what(difference: dict[str, Any]) -> Iterator[str]:
    if "status" in difference["differs"]:
        yield "status"
    for header in difference["headers"]:
        yield f"{header['name']}: {header['active'] or NOTHING} → {header['idle'] or NOTHING}"
    for place in difference["json"]:
        yield f"{place['path']}: {place['active']} → {place['idle']}"
    if "body" in difference["differs"] and not difference["json"]:
        sizes = (difference[side]["body_bytes"] for side in ("active", "idle"))
        yield "body: {} → {} bytes".format(*sizes)
    if difference["body"] in _UNCOMPARED_BODIES:
        yield _UNCOMPARED_BODIES[difference["body"]]
