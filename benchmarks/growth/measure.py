"""Measures one thing each, with sites of its own: a series, the memory of processes, the cost of probing.

Says what was found; what it may be is said by `budgets`.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import wrk
from benchmarks.growth.series import Point, Series, Step
from benchmarks.growth.site import Site, Size, cpu_s, site
from benchmarks.memory import crowd, footprint
from benchmarks.scenarios import KEEP_ALIVE
from benchmarks.wrk import LoadError

# Under load, before the books are opened: connections are made, and Python specialises its bytecode.
WARM_UP_S: Final = 1.0
# The load goes on for this long after the books should be closed: reading them takes time, too.
RESERVE_S: Final = 2.0
# So many connections a second are certainly made.
CONNECTIONS_PER_S: Final = 4000
LOOK_S: Final = 0.1
GRACE_S: Final = 30.0
# A further worker is what several of them cost more than one, by their number.
CREWS: Final = (1, 2, 4)
PROBED: Final = 2000
PROBE_INTERVAL_S: Final = 2

Json = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ground:
    """Where everything runs: directories are made in `directory`, the upstreams answer at `upstream`."""

    directory: Path
    upstream: int
    proxy_cores: set[int]
    load_cores: set[int]


def series(grown: Series, ground: Ground, *, total: int, seconds: int, tell: Tell) -> list[Point]:
    """All rounds, with every step's bgproxy started once; the idle ones cost nothing."""
    if grown.shares_cores:
        everything = os.sched_getaffinity(0)
        ground = replace(ground, proxy_cores=everything, load_cores=everything)
    found = []
    with ExitStack() as stack:
        sites = [
            (step, stack.enter_context(_site(_fitting(step), ground, f"{grown.name}-{step.value}")))
            for step in grown.steps
        ]
        for number in range(1, total + 1):
            # The other way round in every other round: who comes first has a cooler machine.
            for step, where in sites if number % 2 else sites[::-1]:
                found.append(_measure(number, grown.name, step, where, ground, seconds))
                tell(_line(found[-1], total))
    return found


def processes(ground: Ground, *, seconds: int) -> list[Json]:
    """The memory of all processes together after some load, with more and more workers."""
    found = []
    for workers in CREWS:
        with _site(Size(workers=workers), ground, f"crew-{workers}") as where:
            wrk.run(
                KEEP_ALIVE, where.port, seconds=seconds, cores=ground.load_cores, directory=ground.directory
            )
            found.append(
                {
                    "workers": workers,
                    "pss_bytes": footprint.pss_bytes(where.pids),
                    "controller_bytes": footprint.pss_bytes([where.controller_pid]),
                    "workers_bytes": footprint.pss_bytes(where.worker_pids),
                }
            )
    return found


def probing(ground: Ground, *, seconds: int) -> Json:
    """What the controller does of a core while nothing but probing goes on."""
    size = Size(upstreams=PROBED, probe_interval=f"{PROBE_INTERVAL_S}s")
    with _site(size, ground, "probing") as where:
        began, before_s = time.monotonic(), cpu_s([where.controller_pid])
        time.sleep(seconds)
        used_s = cpu_s([where.controller_pid]) - before_s
        passed_s = time.monotonic() - began
    return {
        "upstreams": PROBED,
        "interval_s": PROBE_INTERVAL_S,
        "seconds": seconds,
        "core": used_s / passed_s,
        "us_each": used_s / passed_s * PROBE_INTERVAL_S / PROBED * 1e6,
    }


# Private


def _site(size: Size, ground: Ground, name: str) -> Any:
    return site(size, ground.directory / name, ground.proxy_cores, upstream=ground.upstream)


def _fitting(step: Step) -> Size:
    """bgproxy admits only clients for whom it has two descriptors; where one worker has too few, there are more."""
    needed = crowd.workers_for(step.scenario.connections)
    return replace(step.size, workers=max(step.size.workers, needed))


def _measure(number: int, name: str, step: Step, where: Site, ground: Ground, seconds: int) -> Point:
    connections = step.scenario.connections
    lasts_s = math.ceil(WARM_UP_S + connections / CONNECTIONS_PER_S + seconds + RESERVE_S)
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(_load, step, where.port, lasts_s, ground)
        while where.connections() < connections:
            _check_goes_on(load, step, f"before there were {connections:,} connections")
            time.sleep(LOOK_S)
        time.sleep(WARM_UP_S)
        before = where.books()
        time.sleep(seconds)
        after = where.books()
        pss_bytes = footprint.pss_bytes(where.pids)
        _check_goes_on(load, step, "before the books were closed")
        failures = load.result()
    requests = after.requests - before.requests
    if not requests:
        raise LoadError(f"nothing was answered with {name} = {step.value:,}")
    return Point(
        number=number,
        series=name,
        value=step.value,
        workers=len(where.worker_pids),
        requests=requests,
        failures=failures,
        elapsed_s=after.at_s - before.at_s,
        cpu_s=after.cpu_s - before.cpu_s,
        user_s=after.user_s - before.user_s,
        pss_bytes=pss_bytes,
    )


def _load(step: Step, port: int, seconds: int, ground: Ground) -> int:
    """How many requests failed; those of an open loop never do, because it then ends with an error."""
    if not step.rate_per_s:
        return wrk.run(
            step.scenario, port, seconds=seconds, cores=ground.load_cores, directory=ground.directory
        ).failures
    command = [
        *("taskset", "-c", ",".join(map(str, sorted(ground.load_cores)))),
        *(sys.executable, "-m", "benchmarks.latency.client", "--port", str(port)),
        *("--rate", str(step.rate_per_s), "--seconds", str(seconds)),
        *("--connections", str(step.scenario.connections)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    if done.returncode:
        raise LoadError(f"{step.scenario.name}: {done.stderr.strip()}")
    return 0


def _check_goes_on(load: Future[int], step: Step, when: str) -> None:
    if load.done():
        load.result()
        raise LoadError(
            f"the load of {step.scenario.name} ended {when}: is the machine busy with something else?"
        )


def _line(found: Point, total: int) -> str:
    return (
        f"round {found.number}/{total}  {found.series:<11} {found.value:>9,}  {found.cpu_us:7.1f} µs/request"
        f"  {found.requests_per_s:8,.0f}/s" + (f"  {found.failures} FAILED" if found.failures else "")
    )
