"""Results of the growth benchmark as Markdown, made from the stored JSON alone. It must never leave out a failure."""

from __future__ import annotations

from typing import Any

from benchmarks import machine
from benchmarks.cpu_report import table
from benchmarks.growth import budgets
from benchmarks.growth.budgets import FIRST_BYTES, FLAT, FURTHER_BYTES
from benchmarks.growth.series import SERIES
from benchmarks.memory.budgets import IDLE_BYTES, MIB

Json = dict[str, Any]


def render(result: Json) -> str:
    settings = result["settings"]
    broken = budgets.broken(result)
    lines = [
        "# Growth",
        "",
        *([f"**Not kept: {each}.**" for each in broken] or ["**All promises are kept.**"]),
        "",
        machine.sentence(result),
        "",
        (
            f"bgproxy on core {settings['proxy_cores'][0]}, wrk (closed loop, {settings['connections']} kept-alive connections "
            f"unless said) and the upstreams (one nginx on {settings['addresses']:,} loopback addresses) on core "
            f"{settings['load_cores'][0]}. CPU per request is the workers' CPU time by the requests that they counted, both "
            "read while the load went on. Upstreams were probed once, at the start. Pss is that of all processes under "
            f"load. {settings['rounds']} interleaved rounds of {settings['seconds']} s; median (lowest to highest); "
            "ratios to the first line are taken within each round. "
            f"Promised: at most {FLAT:.2f} for upstreams and services."
        ),
    ]
    for name in dict.fromkeys(row["series"] for row in result["summary"]):
        lines += ["", *_series(name, [row for row in result["summary"] if row["series"] == name])]
    lines += _notes(result["summary"], settings)
    lines += _memory(result)
    lines += _probing(result)
    return "\n".join(lines) + "\n"


# Private


def _series(name: str, rows: list[Json]) -> list[str]:
    return table(
        [
            SERIES[name].about,
            "workers",
            "CPU µs/request",
            "ratio",
            "outside the kernel, µs",
            "requests/s",
            "Pss, MiB",
        ],
        [
            [
                f"{row['value']:,}",
                str(row["workers"]),
                _spread(row["cpu_us"], "{:.1f}"),
                _spread(row["ratio"], "{:.2f}"),
                f"{row['user_us']['median']:.1f}",
                f"{row['requests_per_s']['median']:,.0f}",
                f"{row['pss_bytes']['median'] / MIB:.1f}",
            ]
            for row in rows
        ],
    )


def _notes(summary: list[Json], settings: Json) -> list[str]:
    notes = []
    connections = [row for row in summary if row["series"] == "connections"]
    if connections:
        notes += ["", _about_connections(connections, settings)]
    if any(row["series"] == "workers" for row in summary):
        notes += ["", "For the number of workers, bgproxy and the load had the same cores, all there are."]
    return notes


def _about_connections(rows: list[Json], settings: Json) -> str:
    said = (
        f"Connections ask in turn, {settings['rate_per_s']:,} requests a second in all (open loop), so that few are in "
        "flight and most requests wake the worker for themselves alone, which is dearer than under full load."
    )
    crowded = [row for row in rows if row["workers"] > rows[0]["workers"]]
    if crowded:
        said += (
            f" From {crowded[0]['value']:,} on there are {crowded[0]['workers']} workers (on the same core): a worker "
            "admits only clients for whom it has two descriptors, and the limit is "
            f"{settings['descriptors']:,} for a process here."
        )
    return said


def _memory(result: Json) -> list[str]:
    rows = []
    if processes := result.get("processes"):
        first = processes[0]["pss_bytes"]
        further = budgets.further_bytes(processes)
        one = processes[0]
        rows.append(["controller and one worker (with the supervisor)", _mib(first), _mib(FIRST_BYTES)])
        rows.append(["of that, the controller", _mib(one["controller_bytes"]), ""])
        rows.append(["of that, the worker", _mib(one["workers_bytes"]), ""])
        rows.append(["each further worker", _mib(further), _mib(FURTHER_BYTES)])
    if idle := result.get("idle"):
        rows.append(
            [
                f"an idle connection ({idle['connections']:,} of them, {idle['workers']} workers)",
                f"{idle['bytes_each']:,.0f} bytes",
                f"{IDLE_BYTES:,} bytes",
            ]
        )
    return ["", *table(["memory (Pss)", "found", "promised"], rows)] if rows else []


def _probing(result: Json) -> list[str]:
    if not (probing := result.get("probing")):
        return []
    said = (
        f"With {probing['upstreams']:,} upstreams probed every {probing['interval_s']} s, the controller used "
        f"{probing['core']:.1%} of a core in {probing['seconds']} s: {probing['us_each']:,.0f} µs for a probe."
    )
    return ["", said]


def _mib(count: float) -> str:
    return f"{count / MIB:.1f} MiB"


def _spread(values: dict[str, float], form: str) -> str:
    middle, low, high = (form.format(values[name]) for name in ("median", "low", "high"))
    return f"{middle} ({low} to {high})"
