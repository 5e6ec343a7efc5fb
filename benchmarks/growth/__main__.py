"""`python -m benchmarks.growth`: how CPU per request and memory change with what bgproxy has to deal with.

Writes growth.{json,md,png}; ends with 0 only if every promise is kept. It must never repeat a measurement.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
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

RESULTS: Final = Path(__file__).parents[1] / "results"
EXIT_INTERRUPTED: Final = 130
PARTS: Final = (*SERIES, "processes", "idle", "probing")
IDLE_CONNECTIONS: Final = 10_000
# Five intervals, so that it does not matter where in one it begins.
PROBING_S: Final = 5 * measure.PROBE_INTERVAL_S

Json = dict[str, Any]


def run(parts: Sequence[str], *, total: int, seconds: int) -> Json:
    """Everything that was asked for, as it is stored."""
    # Raises the limit of descriptors as far as it goes, for everybody, or says why that is not far enough.
    crowd.workers_for(IDLE_CONNECTIONS)
    proxy_cores, load_cores = measure.cores()
    points: list[Point] = []
    result: Json = machine.circumstances("benchmarks.growth")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bgproxy-growth-")))
        port = stack.enter_context(upstream(directory / "upstream", load_cores))
        ground = Ground(directory, port, proxy_cores, load_cores)
        for part in parts:
            _tell(f"{part} …")
            match part:
                case "processes":
                    result[part] = measure.processes(ground, seconds=seconds)
                case "probing":
                    result[part] = measure.probing(ground, seconds=PROBING_S)
                case "idle":
                    result[part] = memory.idle(IDLE_CONNECTIONS, asked=True)
                case _:
                    points += measure.series(SERIES[part], ground, total=total, seconds=seconds, tell=_tell)
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all of them")
    parser.add_argument("--render", type=Path, metavar="JSON", help="measure nothing: the report of this")
    parser.add_argument("--results", type=Path, help=f"where growth.json, .md and .png go; {RESULTS}")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    if given.render:
        return _write(json.loads(given.render.read_text()), given.results or given.render.parent)
    # As ^C does, so that nothing that was started is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = run(given.part or PARTS, total=given.rounds, seconds=given.seconds)
    except (ContenderError, LoadError, CrowdError, SiteError) as error:
        print(f"growth: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError as error:
        print(f"growth: {error.filename} not found: `make growth` as root installs it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("growth: interrupted; everything that was started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    results = given.results or RESULTS
    results.mkdir(parents=True, exist_ok=True)
    (results / "growth.json").write_text(json.dumps(result, indent=1) + "\n")
    return _write(result, results)


# Private


def _write(result: Json, results: Path) -> int:
    text = report.render(result)
    (results / "growth.md").write_text(text)
    plot.draw(result, results / "growth.png")
    print(text)
    return 1 if budgets.broken(result) else 0


def _tell(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
