"""What bgproxy has promised to cost, and whether a run has kept it. Pure: it neither measures nor prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks.rounds import REFERENCE, Round, Spread, ratios

# As it is, and compiled.
OURS: Final = ("bgproxy", "bgproxy-compiled")
# CPU per request, by nginx's.
LIMITS: Final = {
    "small": 1.0,
    "headers": 1.0,
    "post": 1.0,
    "connections": 1.0,
    "connect": 1.0,
    "large": 0.6,
    "1m": 0.6,
}
# In every scenario that they can be put to.
AHEAD_OF: Final = ("haproxy", "envoy", "caddy", "traefik")


class Verdict(NamedTuple):
    """One promise: `found` is CPU per request of one of `OURS` by the other's, within each round."""

    ours: str
    scenario: str
    other: str
    limit: float
    found: Spread

    @property
    def is_kept(self) -> bool:
        return self.found.median <= self.limit

    @property
    def excess(self) -> float:
        """By how much it is not."""
        return max(0.0, self.found.median - self.limit)


def judge(rounds: Sequence[Round]) -> list[Verdict]:
    """For every promise that this run has figures for."""
    scenarios = dict.fromkeys(each.scenario for each in rounds)
    promises = [(scenario, REFERENCE, limit) for scenario, limit in LIMITS.items()]
    promises += [(scenario, other, 1.0) for other in AHEAD_OF for scenario in scenarios]
    verdicts = [_verdict(rounds, ours, *promise) for ours in OURS for promise in promises]
    return [verdict for verdict in verdicts if verdict is not None]


# Private


def _verdict(rounds: Sequence[Round], ours: str, scenario: str, other: str, limit: float) -> Verdict | None:
    here = [each for each in rounds if each.scenario == scenario]
    mine = [each for each in here if each.proxy == ours]
    theirs = [each for each in here if each.proxy == other]
    found = ratios(mine, theirs, lambda each: each.cpu_us)
    return Verdict(ours, scenario, other, limit, Spread.of(found)) if found else None
