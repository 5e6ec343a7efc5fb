"""Latency over percentile at each rate, every round a line, from the stored result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.latency.percentiles import CURVE, name
from benchmarks.latency.samples import DIRECT, OURS, REFERENCE

COLOURS: Final = {DIRECT: "#868e96", REFERENCE: "#2f9e56", OURS: "#2b6cb0"}
# The highest value is that of one request alone.
DRAWN: Final = tuple(percentile for percentile in CURVE if 0 < percentile < 100)

Json = dict[str, Any]


def draw(result: Json, path: Path) -> None:
    """Writes a PNG."""
    shares = list(dict.fromkeys(each["share"] for each in result["samples"]))
    figure = Figure(figsize=(12, 5), layout="constrained")
    row = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for axes, share in zip(row, shares, strict=True):
        _draw_rate(axes, [each for each in result["samples"] if each["share"] == share])
    row[0].set_ylabel("latency from when it was due, ms")
    row[0].legend()
    figure.suptitle("Latency at a fixed rate (each line is a round)", fontsize=11)
    figure.savefig(path, dpi=110)


# Private


def _draw_rate(axes: Axes, samples: list[Json]) -> None:
    labelled: set[str] = set()
    places = range(len(DRAWN))
    for each in samples:
        target = each["target"]
        axes.plot(
            places,
            [each["latency_us"][name(percentile)] / 1000 for percentile in DRAWN],
            color=COLOURS[target],
            alpha=0.7,
            linewidth=1,
            label=None if target in labelled else target,
        )
        labelled.add(target)
    axes.set_yscale("log")
    axes.set_xticks(places, [f"{percentile:g}" for percentile in DRAWN], rotation=60)
    axes.set_xlabel("percentile")
    axes.set_title(f"{samples[0]['share']:.0%}: {samples[0]['rate_per_s']:,.0f} requests/s", fontsize=10)
    axes.grid(visible=True, alpha=0.3)
