"""Measured samples as values, what a proxy adds to them, and what is promised of that. Pure.

What is compared is compared within a round, in which the machine was in one mood; the median of those differences
is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from benchmarks.latency.percentiles import Curve, name
from benchmarks.rounds import Spread

DIRECT: Final = "no proxy"
REFERENCE: Final = "nginx"
OURS: Final = "bgproxy"
SHARES: Final = (0.25, 0.5, 0.75)  # of what nginx can do
REPORTED: Final = (50.0, 99.0, 99.9)

PROMISED_SHARE: Final = 0.5
PROMISED_PERCENTILE: Final = 99.0
PROMISED_US: Final = 200.0
# Above this, the load's core has a queue of its own, and below, the rate was not kept.
BUSY: Final = 0.9
KEPT: Final = 0.99
# Of fewer, nobody can say how far they differ.
LEAST_ROUNDS: Final = 3

Json = dict[str, Any]
Figure = Callable[["Sample"], float]


class Verdict(StrEnum):
    KEPT = "kept"
    BROKEN = "not kept"
    OPEN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Sample:
    """One target at one rate. `load_core` is how busy the core of client and backend was, as a share."""

    number: int
    share: float
    target: str
    rate_per_s: float
    requests: int
    requests_per_s: float
    latency_us: Curve
    late_us: Curve
    client: float  # as a share of a core
    load_core: float


def differences(over: Sequence[Sample], under: Sequence[Sample], figure: Figure) -> list[float]:
    """`figure` of one side less that of the other, for each round that both have."""
    others = {each.number: figure(each) for each in under}
    return [figure(each) - others[each.number] for each in over if each.number in others]


def summarise(samples: Sequence[Sample]) -> list[Json]:
    """For every rate and target: its latency, and what it adds to no proxy and to nginx."""
    summary = []
    for share in dict.fromkeys(each.share for each in samples):
        here = [each for each in samples if each.share == share]
        for target in dict.fromkeys(each.target for each in here):
            mine = _of(here, target)
            row: Json = {
                "share": share,
                "target": target,
                "rounds": len(mine),
                "requests": sum(each.requests for each in mine),
                "rate_per_s": mine[0].rate_per_s,
                "kept": min(each.requests_per_s / each.rate_per_s for each in mine),
                "load_core": max(each.load_core for each in mine),
                "latency_us": {},
                "added_us": {},
                "beyond_nginx_us": {},
                "late_us": {},
            }
            for percentile in REPORTED:
                figure = _latency(percentile)
                row["latency_us"][name(percentile)] = _spread([figure(each) for each in mine])
                row["late_us"][name(percentile)] = _spread([each.late_us[name(percentile)] for each in mine])
                for field, base in (("added_us", DIRECT), ("beyond_nginx_us", REFERENCE)):
                    row[field][name(percentile)] = _spread(differences(mine, _of(here, base), figure))
            summary.append(row)
    return summary


def promised(summary: Sequence[Json]) -> dict[str, float]:
    """By how much bgproxy is above nginx where something is promised: the spread over the rounds, in µs."""
    (row,) = (each for each in summary if each["share"] == PROMISED_SHARE and each["target"] == OURS)
    spread: dict[str, float] = row["beyond_nginx_us"][name(PROMISED_PERCENTILE)]
    return spread


def verdict(summary: Sequence[Json]) -> Verdict:
    """Open if the rounds differ among themselves by more than what is promised, or the load was not what it should be."""
    spread = promised(summary)
    rows = [each for each in summary if each["share"] == PROMISED_SHARE]
    if (
        rows[0]["rounds"] < LEAST_ROUNDS
        or (spread["high"] - spread["low"]) / 2 > PROMISED_US
        or any(map(_doubts, rows))
    ):
        return Verdict.OPEN
    return Verdict.KEPT if spread["median"] <= PROMISED_US else Verdict.BROKEN


def doubts(summary: Sequence[Json]) -> list[str]:
    """What of the figures is the load's rather than the proxies', a sentence for each."""
    return [f"{row['share']:.0%}, {row['target']}: {doubt}" for row in summary for doubt in _doubts(row)]


# Private


def _doubts(row: Json) -> list[str]:
    found = []
    if row["load_core"] > BUSY:
        found.append(
            f"the core of load and backend was up to {row['load_core']:.0%} busy, "
            "so that much of the latency is the queue there"
        )
    if row["kept"] < KEPT:
        found.append(f"only {row['kept']:.0%} of the rate was reached")
    return found


def _of(samples: Sequence[Sample], target: str) -> list[Sample]:
    return [each for each in samples if each.target == target]


def _latency(percentile: float) -> Figure:
    return lambda each: each.latency_us[name(percentile)]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return Spread.of(values)._asdict()
