"""The ratios of the CPU benchmark as a picture: a row for each scenario, a dot for each proxy. Draws, and measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.cpu_budgets import OURS
from benchmarks.rounds import REFERENCE
from benchmarks.scenarios import SCENARIOS

COLOURS: Final = {
    "bgproxy": "#1f4e9c",
    "bgproxy-compiled": "#4f9be0",
    "haproxy": "#2f9e56",
    "envoy": "#c05299",
    "caddy": "#d98324",
    "traefik": "#6b7280",
    "naive": "#b91c1c",
}
_ROW_INCHES: Final = 0.42

Json = dict[str, Any]


def draw(result: Json, path: Path) -> None:
    """Writes a PNG. Without nginx in the run there are no ratios, and no picture."""
    compared = [each for each in result["summary"] if "cpu_ratio" in each and each["proxy"] != REFERENCE]
    if not compared:
        return
    names = list(dict.fromkeys(each["scenario"] for each in compared))
    figure = Figure(figsize=(11, 2 + _ROW_INCHES * len(names)), layout="constrained")
    axes = figure.subplots()
    for proxy in dict.fromkeys(each["proxy"] for each in compared):
        mine = [each for each in compared if each["proxy"] == proxy]
        ratios = [each["cpu_ratio"] for each in mine]
        axes.errorbar(
            [ratio["median"] for ratio in ratios],
            [names.index(each["scenario"]) for each in mine],
            xerr=[
                [ratio["median"] - ratio["low"] for ratio in ratios],
                [ratio["high"] - ratio["median"] for ratio in ratios],
            ],
            fmt="D" if proxy in OURS else "o",
            markersize=7 if proxy in OURS else 5,
            elinewidth=1,
            color=COLOURS[proxy],
            label=proxy,
            zorder=3 if proxy in OURS else 2,
        )
    axes.axvline(1.0, color="black", linewidth=1, label=REFERENCE)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks(range(len(names)), [SCENARIOS[name].about for name in names])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(
        "CPU time per request by nginx's: median, lowest and highest of the rounds; less is better"
    )
    figure.legend(loc="outside upper center", ncols=len(COLOURS) + 1, frameon=False)
    figure.savefig(path, dpi=110)
