"""CPU per request over what grows, from the stored result: every round a dot, the medians a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.growth.budgets import FLAT, FLAT_SERIES
from benchmarks.growth.series import SERIES
from benchmarks.rounds import MICRO

COLOUR: Final = "#2b6cb0"
PROMISE: Final = "#c92a2a"

Json = dict[str, Any]


def draw(result: Json, path: Path) -> bool:
    """Writes a PNG; not if no series was measured."""
    names = list(dict.fromkeys(row["series"] for row in result["summary"]))
    if not names:
        return False
    figure = Figure(figsize=(4 * len(names), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        rows = [row for row in result["summary"] if row["series"] == name]
        _draw_series(axes, name, rows, [each for each in result["points"] if each["series"] == name])
    figure.suptitle("CPU per request (workers, µs), as bgproxy and its surroundings grow", fontsize=11)
    figure.savefig(path, dpi=110)
    return True


# Private


def _draw_series(axes: Axes, name: str, rows: list[Json], points: list[Json]) -> None:
    # By place, not by value: steps are factors, and one of them is 0.
    place = {row["value"]: number for number, row in enumerate(rows)}
    axes.scatter(
        [place[each["value"]] for each in points],
        [each["cpu_s"] * MICRO / each["requests"] for each in points],
        s=14,
        alpha=0.5,
        color=COLOUR,
    )
    axes.plot(list(place.values()), [row["cpu_us"]["median"] for row in rows], color=COLOUR)
    if name in FLAT_SERIES:
        axes.axhline(rows[0]["cpu_us"]["median"] * FLAT, color=PROMISE, linewidth=0.8, label="promised")
        axes.legend()
    axes.set_ylim(bottom=0)
    axes.set_xticks(list(place.values()), [f"{value:,}" for value in place], rotation=30)
    axes.set_title(SERIES[name].about, fontsize=9)
    axes.grid(visible=True, alpha=0.3)
