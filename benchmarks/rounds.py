"""Measured rounds as values, and what they add up to. Pure: it neither measures nor prints.

Proxies are compared within a round, in which the machine was in one mood; the median of those ratios is
the result, not the ratio of two medians.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, NamedTuple

REFERENCE: Final = "nginx"
MICRO: Final = 1e6
MILLI: Final = 1e3
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Round:
    """One proxy under one scenario. `others` is what else ran on the proxies' cores, as a share of the time."""

    number: int
    scenario: str
    proxy: str
    workers: int
    requests: int
    failures: int
    elapsed_s: float
    cpu_s: float  # of the whole process tree
    worker_cpu_s: tuple[float, ...]  # of each worker
    others: float
    p50_s: float
    p99_s: float
    pss_bytes: int  # of the whole process tree, when the load has ended

    @property
    def cpu_us(self) -> float:
        """CPU time of the tree per completed request."""
        return self.cpu_s * MICRO / self.requests

    @property
    def worker_cpu_us(self) -> float:
        """What of it was spent by those that handle requests: the rest checks health, keeps books, supervises."""
        return sum(self.worker_cpu_s) * MICRO / self.requests

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.elapsed_s

    @property
    def busy_cores(self) -> float:
        return self.cpu_s / self.elapsed_s

    @property
    def balance(self) -> float:
        """The least busy worker's CPU time as a share of the busiest one's."""
        return min(self.worker_cpu_s) / max(self.worker_cpu_s)


class Spread(NamedTuple):
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


Figure = Callable[[Round], float]


def ratios(over: Sequence[Round], under: Sequence[Round], figure: Figure) -> list[float]:
    """`figure` of one side by that of the other, for each round that both have."""
    divisors = {each.number: figure(each) for each in under}
    return [figure(each) / divisors[each.number] for each in over if each.number in divisors]


def compare(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """For every scenario and proxy: CPU per request, throughput, and both against nginx."""
    summary = []
    for scenario in dict.fromkeys(each.scenario for each in rounds):
        here = [each for each in rounds if each.scenario == scenario]
        reference = [each for each in here if each.proxy == REFERENCE]
        for proxy in dict.fromkeys(each.proxy for each in here):
            mine = [each for each in here if each.proxy == proxy]
            summary.append(
                {
                    "scenario": scenario,
                    "proxy": proxy,
                    "rounds": len(mine),
                    "requests": sum(each.requests for each in mine),
                    "failures": sum(each.failures for each in mine),
                    "cpu_us": _spread(mine, lambda each: each.cpu_us),
                    "worker_cpu_us": _spread(mine, lambda each: each.worker_cpu_us),
                    "requests_per_s": _spread(mine, lambda each: each.requests_per_s),
                    "busy_cores": _spread(mine, lambda each: each.busy_cores),
                    **_against(mine, reference),
                    "p50_ms": _spread(mine, lambda each: each.p50_s * MILLI),
                    "p99_ms": _spread(mine, lambda each: each.p99_s * MILLI),
                    "pss_mib": _spread(mine, lambda each: each.pss_bytes / MIB),
                }
            )
    return summary


def scale(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """For every proxy and number of workers: what more workers cost and bring, against one.

    `cpu_bound` is the throughput against one worker's that the CPU per request would allow if every worker
    had a core of its own: the number of workers, less what they cost each other.
    """
    summary = []
    for proxy in dict.fromkeys(each.proxy for each in rounds):
        here = [each for each in rounds if each.proxy == proxy]
        single = [each for each in here if each.workers == 1]
        for workers in sorted({each.workers for each in here}):
            mine = [each for each in here if each.workers == workers]
            cheaper = ratios(single, mine, lambda each: each.cpu_us)
            summary.append(
                {
                    "proxy": proxy,
                    "workers": workers,
                    "rounds": len(mine),
                    "requests": sum(each.requests for each in mine),
                    "failures": sum(each.failures for each in mine),
                    "cpu_us": _spread(mine, lambda each: each.cpu_us),
                    "requests_per_s": _spread(mine, lambda each: each.requests_per_s),
                    "busy_cores": _spread(mine, lambda each: each.busy_cores),
                    "balance": _spread(mine, lambda each: each.balance),
                    "throughput_ratio": _ratio(mine, single, lambda each: each.requests_per_s),
                    "cpu_bound": Spread.of([workers * ratio for ratio in cheaper])._asdict(),
                }
            )
    return summary


# Private


def _against(mine: Sequence[Round], reference: Sequence[Round]) -> dict[str, Any]:
    """Nothing where nginx was not measured in the same rounds."""
    if not ratios(mine, reference, lambda each: each.cpu_us):
        return {}
    return {
        "cpu_ratio": _ratio(mine, reference, lambda each: each.cpu_us),
        "throughput_ratio": _ratio(mine, reference, lambda each: each.requests_per_s),
    }


def _spread(rounds: Sequence[Round], figure: Figure) -> dict[str, float]:
    return Spread.of([figure(each) for each in rounds])._asdict()


def _ratio(over: Sequence[Round], under: Sequence[Round], figure: Figure) -> dict[str, float]:
    return Spread.of(ratios(over, under, figure))._asdict()
