"""What grows, as data, and what measured points of it add up to. Pure: it neither measures nor prints.

A point is compared with the first one of its series within a round, in which the machine was in one mood; the median
of those ratios is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.growth.site import Size
from benchmarks.growth.upstream import BODIES_BYTES, path_of
from benchmarks.rounds import MICRO, Spread
from benchmarks.scenarios import KEEP_ALIVE, PROXY_BOUND, Scenario, host

CONNECTIONS: Final = 64
# What one connection can ask for; and thousands have asked before bgproxy takes them for idle.
RATE_PER_S: Final = 5000

# bgproxy knows a head again that is like the one before on its connection. Of several services, none would be, and of
# one, all: so that only the number of services differs, no two of these requests are the same, whoever is asked.
TURNS: Final = 200
_ROUND_THE_HOSTS: Final = """\
local hosts, requests, turn = {{{hosts}}}, {{}}, 0
init = function()
  for number = 1, {turns} do
    wrk.headers["Host"] = hosts[(number - 1) % #hosts + 1]
    wrk.headers["X-Turn"] = tostring(number)
    requests[number] = wrk.format()
  end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
"""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One length of what grows: how large bgproxy is, and the load.

    With a rate, the connections ask in turn and few at a time; without, all of them ask as fast as they can.
    """

    value: int
    size: Size
    scenario: Scenario
    rate_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """`shares_cores`: proxies and load run on all cores, because more than one worker needs them."""

    name: str
    about: str
    steps: tuple[Step, ...]
    shares_cores: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A step in a round. CPU time is that of the workers, `user_s` the part outside the kernel.

    `pss_bytes` is that of all processes, under load.
    """

    number: int
    series: str
    value: int
    workers: int
    requests: int
    failures: int
    elapsed_s: float
    cpu_s: float
    user_s: float
    pss_bytes: int

    @property
    def cpu_us(self) -> float:
        return self.cpu_s * MICRO / self.requests

    @property
    def user_us(self) -> float:
        return self.user_s * MICRO / self.requests

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.elapsed_s


def hosts_script(services: int) -> str:
    """For wrk: asks the services in turn."""
    hosts = ", ".join(f'"{host(number)}"' for number in range(services))
    return _ROUND_THE_HOSTS.format(hosts=hosts, turns=TURNS)


SERIES: Final = {
    series.name: series
    for series in (
        Series(
            "connections",
            "client connections, asking in turn",
            tuple(
                Step(count, Size(), Scenario(f"connections-{count}", "", connections=count), RATE_PER_S)
                for count in (1, 64, 1000, 10_000)
            ),
        ),
        Series(
            "upstreams",
            "upstreams in the pool",
            tuple(Step(count, Size(upstreams=count), KEEP_ALIVE) for count in (1, 10, 100, 1000)),
        ),
        Series(
            "services",
            "services, asked in turn",
            tuple(
                Step(
                    count, Size(services=count), Scenario(f"services-{count}", "", script=hosts_script(count))
                )
                for count in (1, 20, 200)
            ),
        ),
        Series(
            "body",
            "bytes of the response",
            tuple(
                Step(count, Size(), Scenario(f"body-{count}", "", path=path_of(count)))
                for count in BODIES_BYTES
            ),
        ),
        Series(
            "workers",
            "workers; POST in 2000 chunks of a byte",
            tuple(Step(count, Size(workers=count), PROXY_BOUND) for count in (1, 2)),
            shares_cores=True,
        ),
    )
}


def summarise(points: Sequence[Point]) -> list[Json]:
    """For every step: CPU per request, by that of the first step, throughput and memory."""
    summary = []
    for name in dict.fromkeys(each.series for each in points):
        here = [each for each in points if each.series == name]
        values = sorted({each.value for each in here})
        first_us = {each.number: each.cpu_us for each in here if each.value == values[0]}
        for value in values:
            mine = [each for each in here if each.value == value]
            summary.append(
                {
                    "series": name,
                    "value": value,
                    "workers": mine[0].workers,
                    "rounds": len(mine),
                    "requests": sum(each.requests for each in mine),
                    "failures": sum(each.failures for each in mine),
                    "cpu_us": _spread(mine, lambda each: each.cpu_us),
                    "user_us": _spread(mine, lambda each: each.user_us),
                    "ratio": Spread.of([each.cpu_us / first_us[each.number] for each in mine])._asdict(),
                    "requests_per_s": _spread(mine, lambda each: each.requests_per_s),
                    "pss_bytes": _spread(mine, lambda each: each.pss_bytes),
                }
            )
    return summary


# Private


def _spread(points: Sequence[Point], figure: Callable[[Point], float]) -> dict[str, float]:
    return Spread.of([figure(each) for each in points])._asdict()
