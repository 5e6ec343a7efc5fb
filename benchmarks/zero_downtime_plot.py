"""The run as a picture: latency of the requests, who answered them, and when the switches were.

It draws every request that the latency percentiles know, near a switch or not, and never a sample of them.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.zero_downtime_report import per_bin
from bgproxy.demo.ledger import Kind, Ledger
from bgproxy.demo.stage import SIDES

BIN_S: Final = 0.1
COLOURS: Final = {"blue": "#2b6cb0", "green": "#2f9e56"}


def draw(ledger: Ledger, path: Path, *, title: str) -> None:
    """Writes a PNG."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    began = min(request.started for request in ledger.requests)
    _draw_latency(above, ledger, began)
    _draw_sides(below, ledger, began)
    for change in ledger.changes:
        if change.kind is Kind.SWITCH:
            for axes in (above, below):
                axes.axvline(change.acked - began, color="black", linewidth=0.6, alpha=0.7)
    figure.suptitle(f"{title}\n(each line is an acknowledged switch)", fontsize=11)
    figure.savefig(path, dpi=110)


# Private


def _draw_latency(axes: Axes, ledger: Ledger, began: float) -> None:
    # GET /slow takes 100 ms on purpose: a band of it says nothing.
    for side, version in SIDES.items():
        mine = [each for each in ledger.requests if each.version == version and each.path != "/slow"]
        axes.scatter(
            [each.started - began for each in mine],
            [(each.ended - each.started) * 1000 for each in mine],
            s=2,
            linewidths=0,
            alpha=0.5,
            color=COLOURS[side],
            label=f"answered by {side} ({version})",
        )
    failed = ledger.errors()
    if failed:
        axes.scatter(
            [each.started - began for each in failed],
            [(each.ended - each.started) * 1000 for each in failed],
            marker="x",
            color="red",
            label="failed",
        )
    axes.set_yscale("log")
    axes.set_ylabel("latency, ms")
    axes.legend(loc="upper right", markerscale=4)


def _draw_sides(axes: Axes, ledger: Ledger, began: float) -> None:
    bins = int((max(request.ended for request in ledger.requests) - began) / BIN_S)
    edges = list(accumulate([BIN_S] * bins, initial=0.0))
    bottom = [0.0] * bins
    for side, version in SIDES.items():
        top = [
            low + rate
            for low, rate in zip(bottom, per_bin(ledger.requests, version, began, bins, BIN_S), strict=True)
        ]
        axes.stairs(top, edges, baseline=bottom, fill=True, color=COLOURS[side], alpha=0.8)
        bottom = top
    axes.set_ylim(bottom=0)
    axes.set_ylabel("answers per second")
    axes.set_xlabel("seconds")
