"""The stored result as a picture: who answered around a switch, what failed, and how long it took.

Made from the stored JSON alone; it draws every proxy that is in there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Json = dict[str, Any]

COLOURS: Final = {"old": "#2b6cb0", "new": "#2f9e56", "failed": "#d62728"}
LABELS: Final = {"old": "old side", "new": "new side", "failed": "failed"}


def draw(result: Json, path: Path, *, title: str) -> None:
    """Writes a PNG."""
    proxies = result["proxies"]
    figure = Figure(figsize=(12, 1.2 + 2.2 * len(proxies)), layout="constrained")
    rows = figure.subplots(len(proxies), 2, sharex=True, squeeze=False)
    highest = max(
        (each["p99_ms"] for facts in proxies.values() for each in facts["profile"] if each["p99_ms"]),
        default=1.0,
    )
    for (answers, latency), (name, facts) in zip(rows, proxies.items(), strict=True):
        _draw_answers(answers, facts)
        _draw_latency(latency, facts)
        latency.set_ylim(0, highest * 1.05)  # one scale, so that they can be compared
        answers.set_ylabel(name)
        for axes in (answers, latency):
            axes.axvline(facts["acknowledged_ms"]["p50"] or 0.0, color="black", linewidth=0.8)
    rows[0][0].set_title("answers, by the side that gave them")
    rows[0][1].set_title("p99 latency, ms; grey: its noise elsewhere")
    rows[0][0].legend(loc="lower right", fontsize=8)
    for axes in rows[-1]:
        axes.set_xlabel("ms since the command to switch (line: acknowledged, p50)")
    figure.suptitle(title, fontsize=10, wrap=True)
    figure.savefig(path, dpi=110)


# Private


def _draw_answers(axes: Axes, facts: Json) -> None:
    """All switches together; failed ones on top, where they cannot be overlooked."""
    bins = facts["profile"]
    edges = _edges(bins)
    bottom = [0] * len(bins)
    for key, label in LABELS.items():
        top = [low + each[key] for low, each in zip(bottom, bins, strict=True)]
        axes.stairs(top, edges, baseline=bottom, fill=True, color=COLOURS[key], label=label)
        bottom = top


def _draw_latency(axes: Axes, facts: Json) -> None:
    bins = facts["profile"]
    low, high = facts["latency_ms"]["noise"]
    if low is not None and high is not None:
        axes.axhspan(low, high, color="#dddddd")
    middles = [each["from_ms"] + _width(bins) / 2 for each in bins if each["p99_ms"] is not None]
    axes.plot(
        middles, [each["p99_ms"] for each in bins if each["p99_ms"] is not None], color="black", linewidth=1
    )


def _edges(bins: list[Json]) -> list[float]:
    starts = [float(each["from_ms"]) for each in bins]
    return [*starts, starts[-1] + _width(bins)]


def _width(bins: list[Json]) -> float:
    return float(bins[1]["from_ms"] - bins[0]["from_ms"])
