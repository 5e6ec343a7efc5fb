"""Results of the CPU benchmark as Markdown, made from the stored JSON alone. It must never leave out a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from benchmarks import machine
from benchmarks.rounds import REFERENCE
from benchmarks.scenarios import SCENARIOS

# More than this of the proxies' core went to something else: the ratios hold, the rest is doubtful.
NOISY: Final = 0.05

Json = dict[str, Any]


def render(result: Json) -> str:
    """The whole report of either kind."""
    settings = result["settings"]
    is_scaling = result["kind"] == "workers"
    lines = [
        "# Workers: what a second one brings" if is_scaling else "# CPU per request beside nginx",
        "",
        machine.sentence(result),
        "",
        _method(settings, is_scaling=is_scaling),
        "",
        *(_scaling_table(result["summary"]) if is_scaling else _cpu_table(result["summary"])),
    ]
    warnings = _warnings(result)
    if warnings:
        lines += ["", *(f"**{warning}**" for warning in warnings)]
    return "\n".join(lines) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned, so that it reads well in a terminal, too; the first column is for names."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    return [line(header), line(rule), *(line(row) for row in rows)]


# Private


def _method(settings: Json, *, is_scaling: bool) -> str:
    rounds = (
        f"{settings['rounds']} interleaved rounds of {settings['seconds']} s each; "
        "median (lowest to highest); ratios are taken within each round."
    )
    if is_scaling:
        return (
            f"Proxies on cores {settings['proxy_cores']}, load and backend on cores {settings['load_cores']}. "
            f"{rounds} CPU-bound is the throughput that CPU per request would allow if each worker had a core "
            "of its own; measured throughput shows it only where the load has cores of its own, too."
        )
    return (
        f"One worker on core {settings['proxy_cores'][0]}, load and backend on core "
        f"{settings['load_cores'][0]}; CPU time (user and system) of all processes of the proxy by completed "
        f"requests. {rounds} Absolute figures depend on the machine, ratios within a run count."
    )


def _cpu_table(summary: Sequence[Json]) -> list[str]:
    rows = []
    for each in summary:
        if each["proxy"] == REFERENCE:
            continue
        (reference,) = (
            other
            for other in summary
            if other["proxy"] == REFERENCE and other["scenario"] == each["scenario"]
        )
        rows.append(
            [
                SCENARIOS[each["scenario"]].about,
                _spread(reference["cpu_us"], "{:.1f}"),
                _spread(each["cpu_us"], "{:.1f}"),
                _spread(each["cpu_ratio"], "{:.2f}"),
                f"{reference['requests_per_s']['median']:,.0f}",
                f"{each['requests_per_s']['median']:,.0f}",
                f"{each['throughput_ratio']['median']:.2f}",
            ]
        )
    header = [
        *("scenario", "nginx µs/request", "bgproxy µs/request", "ratio"),
        *("nginx requests/s", "bgproxy requests/s", "ratio"),
    ]
    return table(header, rows)


def _scaling_table(summary: Sequence[Json]) -> list[str]:
    rows = [
        [
            each["proxy"],
            str(each["workers"]),
            _spread(each["requests_per_s"], "{:,.0f}"),
            _spread(each["throughput_ratio"], "{:.2f}"),
            _spread(each["cpu_us"], "{:.1f}"),
            f"{each['cpu_bound']['median']:.2f}",
            f"{each['busy_cores']['median']:.2f}",
            f"{each['balance']['median']:.0%}",
        ]
        for each in summary
    ]
    header = [
        *("proxy", "workers", "requests/s", "by one worker's", "CPU µs/request", "CPU-bound"),
        *("cores used", "least/most busy"),
    ]
    return table(header, rows)


def _warnings(result: Json) -> list[str]:
    warnings = [
        f"{each['failures']} requests of {each['proxy']} failed: its figures do not count."
        for each in result["summary"]
        if each["failures"]
    ]
    noise = max(each["others"] for each in result["rounds"])
    if noise > NOISY:
        warnings.append(f"Noisy machine: up to {noise:.0%} of the proxies' core went to something else.")
    return warnings


def _spread(values: dict[str, float], form: str) -> str:
    middle, low, high = (form.format(values[name]) for name in ("median", "low", "high"))
    return f"{middle} ({low} to {high})"
