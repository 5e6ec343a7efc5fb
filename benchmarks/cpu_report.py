"""Results of the CPU benchmark as Markdown, made from the stored JSON alone. It must never leave out a failure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from benchmarks import cpu_budgets, machine
from benchmarks.cpu_budgets import AHEAD_OF, Verdict
from benchmarks.rounds import REFERENCE, Round
from benchmarks.scenarios import SCENARIOS

# More than this of the proxies' core went to something else: the ratios hold, the rest is doubtful.
NOISY: Final = 0.05
NOTHING: Final = "-"
# From where the report lies.
WHY: Final = "../../docs/explanation/speed.md#where-it-is-not-as-cheap-as-promised"

Json = dict[str, Any]


def render(result: Json) -> str:
    """The whole report of either kind."""
    is_scaling = result["kind"] == "workers"
    lines = [
        "# Workers: what a second one brings" if is_scaling else "# CPU per request beside other proxies",
        "",
        machine.sentence(result),
        "",
        _method(result["settings"], is_scaling=is_scaling),
        "",
    ]
    if is_scaling:
        lines += _scaling_table(result["summary"])
    else:
        lines += [*_ratios(result), "", *_promises(result), "", *_details(result["summary"])]
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
        f"requests. {rounds} Absolute figures depend on the machine, ratios within a run count. Latency is that of "
        "a closed loop, in which a request waits for the ones before it; memory (Pss) is that of all "
        "processes when the load has ended, whatever they went through before."
    )


def _ratios(result: Json) -> list[str]:
    """One row for each scenario, one column for each proxy."""
    by_place = {(each["scenario"], each["proxy"]): each for each in result["summary"]}
    proxies = list(dict.fromkeys(each["proxy"] for each in result["summary"]))
    rows = [
        [
            SCENARIOS[scenario].about,
            *(_ratio_cell(by_place.get((scenario, proxy)), proxy) for proxy in proxies),
        ]
        for scenario in dict.fromkeys(each["scenario"] for each in result["summary"])
    ]
    header = ["scenario", *(f"{proxy}, µs" if proxy == REFERENCE else proxy for proxy in proxies)]
    lines = ["## All of it", "", "CPU time per request by nginx's (nginx itself in µs); less is better.", ""]
    lines += table(header, rows)
    if any("cpu_ratio" in each for each in result["summary"]):
        lines += ["", "![CPU time per request by nginx's](cpu.png)"]
    left_out = _left_out(result.get("left_out", {}))
    return [*lines, "", *left_out] if left_out else lines


def _ratio_cell(each: Json | None, proxy: str) -> str:
    if each is None:
        return NOTHING
    failed = " (failures)" if each["failures"] else ""
    if proxy == REFERENCE:
        return f"{each['cpu_us']['median']:.1f}{failed}"
    return f"{each['cpu_ratio']['median']:.2f}{failed}" if "cpu_ratio" in each else NOTHING


def _left_out(left_out: dict[str, dict[str, str]]) -> list[str]:
    lines = []
    for proxy, scenarios in left_out.items():
        for why in dict.fromkeys(scenarios.values()):
            names = [name for name, each in scenarios.items() if each == why]
            lines.append(f"- {proxy} is not in {_and(names)}: {why}.")
    return lines


def _promises(result: Json) -> list[str]:
    """Every budget, kept or not, and by how much not."""
    verdicts = cpu_budgets.judge([_round(each) for each in result["rounds"]])
    if not verdicts:
        return []
    lines = ["## Budgets", "", f"[Why some are missed, and what was tried]({WHY})", ""]
    for ours in dict.fromkeys(verdict.ours for verdict in verdicts):
        lines += _kept([verdict for verdict in verdicts if verdict.ours == ours], ours)
    return lines


def _kept(verdicts: Sequence[Verdict], ours: str) -> list[str]:
    rows = [
        [
            SCENARIOS[verdict.scenario].about,
            f"≤ {verdict.limit:.1f}",
            _spread(verdict.found._asdict(), "{:.2f}"),
            "reached" if verdict.is_kept else f"missed by {verdict.excess:.2g}",
        ]
        for verdict in verdicts
        if verdict.other == REFERENCE
    ]
    lines = []
    if rows:
        lines += [*table([f"{ours}'s CPU per request by nginx's", "budget", "found", "is"], rows), ""]
    for other in AHEAD_OF:
        mine = [verdict for verdict in verdicts if verdict.other == other]
        if mine:
            lines.append(f"- {ours}: {_ahead(other, mine)}")
    return [*lines, ""] if lines else []


def _ahead(other: str, verdicts: Sequence[Verdict]) -> str:
    behind = [verdict for verdict in verdicts if not verdict.is_kept]
    if not behind:
        return f"ahead of {other} in all {len(verdicts)} scenarios: reached."
    which = _and([f"{verdict.scenario} ({verdict.found.median:.2f} of its CPU)" for verdict in behind])
    return (
        f"ahead of {other} in {len(verdicts) - len(behind)} of {len(verdicts)} scenarios: missed in {which}."
    )


def _details(summary: Sequence[Json]) -> list[str]:
    lines = ["## In detail"]
    for scenario in dict.fromkeys(each["scenario"] for each in summary):
        rows = [
            [
                each["proxy"],
                _spread(each["cpu_us"], "{:.1f}"),
                f"{each['worker_cpu_us']['median']:.1f}",
                _spread(each["cpu_ratio"], "{:.2f}") if "cpu_ratio" in each else NOTHING,
                _spread(each["requests_per_s"], "{:,.0f}"),
                f"{each['p50_ms']['median']:.2f}",
                f"{each['p99_ms']['median']:.2f}",
                f"{each['pss_mib']['median']:.1f}",
                f"{each['failures']:,} of {each['requests']:,}" if each["failures"] else "0",
            ]
            for each in summary
            if each["scenario"] == scenario
        ]
        header = [
            *("proxy", "CPU µs/request", "of it workers", "by nginx's", "requests/s"),
            *("p50 ms", "p99 ms", "Pss MiB", "failed"),
        ]
        lines += ["", f"### {SCENARIOS[scenario].about} (`{scenario}`)", "", *table(header, rows)]
    return lines


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
        f"{each['failures']:,} of {each['requests']:,} requests of {each['proxy']} failed"
        + (f" in {each['scenario']}" if "scenario" in each else "")
        + ": its figures there do not count."
        for each in result["summary"]
        if each["failures"]
    ]
    noise = max(each["others"] for each in result["rounds"])
    if noise > NOISY:
        warnings.append(f"Noisy machine: up to {noise:.0%} of the proxies' core went to something else.")
    return warnings


def _round(stored: Json) -> Round:
    return Round(**{**stored, "worker_cpu_s": tuple(stored["worker_cpu_s"])})


def _spread(values: dict[str, float], form: str) -> str:
    middle, low, high = (form.format(values[name]) for name in ("median", "low", "high"))
    return f"{middle} ({low} to {high})"


def _and(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
