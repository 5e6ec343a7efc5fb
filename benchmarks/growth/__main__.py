"""`python -m benchmarks.growth`: how CPU per request and memory change with what bgproxy has to deal with.

Writes growth.{json,md,png}; ends with 0 only if every promise is kept. It must never repeat a measurement.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks import command, machine
from benchmarks.command import Command, tell
from benchmarks.contenders import ContenderError
from benchmarks.growth import budgets, measure, plot, report
from benchmarks.growth.measure import Ground
from benchmarks.growth.series import CONNECTIONS, RATE_PER_S, SERIES, Point, summarise
from benchmarks.growth.upstream import ADDRESSES, upstream
from benchmarks.memory import crowd
from benchmarks.memory import measure as memory
from benchmarks.memory.crowd import CrowdError
from benchmarks.memory.site import SiteError
from benchmarks.wrk import LoadError

PARTS: Final = (*SERIES, "processes", "idle", "probing")
IDLE_CONNECTIONS: Final = 10_000
# Five intervals, so that it does not matter where in one it begins.
PROBING_S: Final = 5 * measure.PROBE_INTERVAL_S

Json = dict[str, Any]


def run(parts: Sequence[str], *, total: int, seconds: int) -> Json:
    """Everything that was asked for, as it is stored."""
    # Raises the limit of descriptors as far as it goes, for everybody, or says why that is not far enough.
    crowd.workers_for(IDLE_CONNECTIONS)
    proxy_core, load_core = command.two_cores()
    proxy_cores, load_cores = {proxy_core}, {load_core}
    points: list[Point] = []
    result: Json = machine.circumstances("benchmarks.growth")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bgproxy-growth-")))
        port = stack.enter_context(upstream(directory / "upstream", load_cores))
        ground = Ground(directory, port, proxy_cores, load_cores)
        for part in parts:
            tell(f"{part} …")
            match part:
                case "processes":
                    result[part] = measure.processes(ground, seconds=seconds)
                case "probing":
                    result[part] = measure.probing(ground, seconds=PROBING_S)
                case "idle":
                    result[part] = memory.idle(IDLE_CONNECTIONS, asked=True)
                case _:
                    points += measure.series(SERIES[part], ground, total=total, seconds=seconds, tell=tell)
    result["settings"] = {
        "rounds": total,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "addresses": ADDRESSES,
        "rate_per_s": RATE_PER_S,
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "proxy_cores": sorted(proxy_cores),
        "load_cores": sorted(load_cores),
    }
    result["summary"] = summarise(points)
    result["points"] = [asdict(each) for each in points]
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("growth", __doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all of them")
    return Command(
        "growth",
        parser,
        lambda given: run(given.part or PARTS, total=given.rounds, seconds=given.seconds),
        (ContenderError, LoadError, CrowdError, SiteError),
        report.render,
        plot.draw,
        lambda result: not budgets.broken(result),
    ).run(arguments)


if __name__ == "__main__":
    sys.exit(main())
