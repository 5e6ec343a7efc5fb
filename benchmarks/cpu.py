"""CPU per request of bgproxy beside nginx, both measured in one run; with --workers, one worker beside two.

    python -m benchmarks.cpu [--workers] [--rounds 5] [--seconds 3] [--scenario NAME]...

It must never tune one side only, and never report a round in which requests failed as if they had not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks import contenders, cpu_report, cpu_time, machine, rounds, wrk
from benchmarks.contenders import Contender, ContenderError
from benchmarks.rounds import Round
from benchmarks.scenarios import PROXY_BOUND, SCENARIOS, Scenario
from benchmarks.wrk import WrkError

RESULTS: Final = Path(__file__).parent / "results"
PROGRAMS: Final = ("nginx", "wrk", "taskset")
# Not measured: connections to the backend are made, and Python specialises its bytecode.
WARM_UP_S: Final = 1
MOST_WORKERS: Final = 2
EXIT_INTERRUPTED: Final = 130


class NotPossible(Exception):
    """This machine cannot run the benchmark; the text says what is missing and how to get it."""


def measure(
    number: int,
    contender: Contender,
    scenario: Scenario,
    *,
    seconds: int,
    load_cores: set[int],
    proxy_cores: set[int],
    directory: Path,
) -> Round:
    """One round: the books before, load, the books after."""
    workers = sorted(contender.worker_pids)
    began = time.monotonic()
    tree_before = cpu_time.cpu_s(contender.pids)
    workers_before = [cpu_time.cpu_s([pid]) for pid in workers]
    cores_before = sum(map(cpu_time.core_s, proxy_cores))
    load = wrk.run(scenario, contender.port, seconds=seconds, cores=load_cores, directory=directory)
    contender.check_whole()
    tree = cpu_time.cpu_s(contender.pids) - tree_before
    cores = sum(map(cpu_time.core_s, proxy_cores)) - cores_before
    passed = time.monotonic() - began
    # Where load and proxies share cores, what else runs there is the load.
    is_apart = proxy_cores.isdisjoint(load_cores)
    if not load.requests:
        raise WrkError(f"{contender.name} answered no request of scenario {scenario.name!r}")
    return Round(
        number=number,
        scenario=scenario.name,
        proxy=contender.name,
        workers=contender.workers,
        requests=load.requests,
        failures=load.failures,
        elapsed_s=load.elapsed_s,
        cpu_s=tree,
        worker_cpu_s=tuple(
            cpu_time.cpu_s([pid]) - before for pid, before in zip(workers, workers_before, strict=True)
        ),
        others=max(0.0, cores - tree) / passed if is_apart else 0.0,
    )


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as it is stored."""
    proxy_cores, load_cores = _cores(sorted(os.sched_getaffinity(0)), scaling=given.workers)
    scenarios = [PROXY_BOUND] if given.workers else [SCENARIOS[name] for name in given.scenario or SCENARIOS]
    crews = range(1, MOST_WORKERS + 1) if given.workers else [1]
    found: list[Round] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bgproxy-bench-")))
        behind = stack.enter_context(contenders.backend(directory / "backend", load_cores))
        field: list[Contender] = []
        for workers in crews:
            for start in (contenders.nginx, contenders.bgproxy):
                place = directory / f"{start.__name__}-{workers}"
                field.append(stack.enter_context(start(behind, place, proxy_cores, workers=workers)))
        for scenario in scenarios:
            for contender in field:
                wrk.run(scenario, contender.port, seconds=WARM_UP_S, cores=load_cores, directory=directory)
        for number in range(1, given.rounds + 1):
            # The other way round in every other round: who comes first has a cooler machine.
            order = field if number % 2 else field[::-1]
            for scenario in scenarios:
                for contender in order:
                    found.append(
                        measure(
                            number,
                            contender,
                            scenario,
                            seconds=given.seconds,
                            load_cores=load_cores,
                            proxy_cores=proxy_cores,
                            directory=directory,
                        )
                    )
                    _tell(found[-1], given.rounds)
    return {
        "kind": "workers" if given.workers else "cpu",
        **machine.circumstances("benchmarks.cpu"),
        "settings": {
            "rounds": given.rounds,
            "seconds": given.seconds,
            "proxy_cores": sorted(proxy_cores),
            "load_cores": sorted(load_cores),
        },
        "summary": rounds.scale(found) if given.workers else rounds.compare(found),
        "rounds": [asdict(each) for each in found],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=_positive, default=3, help="of each round")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="default: all of them")
    parser.add_argument("--workers", action="store_true", help="one worker beside two, instead of scenarios")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the JSON and the report")
    given = parser.parse_args(arguments)
    if given.workers and given.scenario:
        parser.error("--workers has one scenario of its own: leave out --scenario")
    # As ^C does, so that nothing that was started is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _prepare()
        result = run(given)
    except (NotPossible, ContenderError, WrkError) as error:
        print(f"cpu benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cpu benchmark: interrupted; everything that was started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    report = cpu_report.render(result)
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / f"{result['kind']}.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.results / f"{result['kind']}.md").write_text(report)
    print(report)
    return 1 if any(each["failures"] for each in result["summary"]) else 0


# Private


def _prepare() -> None:
    # nginx lives where only root looks for programs.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise NotPossible(
            f"{', '.join(missing)} not found: `make bench` as root installs them, or "
            "`apt-get install -y nginx-light wrk util-linux`"
        )
    if len(os.sched_getaffinity(0)) < 2:
        raise NotPossible("this process may use one core only: proxy and load need one each")
    # For a thousand connections on both sides, and nobody's fault if the shell has a small default.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _cores(allowed: Sequence[int], *, scaling: bool) -> tuple[set[int], set[int]]:
    """Cores for the proxies, and those for load and backend: apart wherever there are enough."""
    if not scaling:
        return {allowed[0]}, {allowed[1]}
    return set(allowed[:MOST_WORKERS]), set(allowed[MOST_WORKERS:] or allowed)


def _tell(measured: Round, total: int) -> None:
    print(
        f"round {measured.number}/{total}  {measured.scenario:<11} {measured.proxy:<7} "
        f"x{measured.workers}  {measured.cpu_us:6.1f} µs/request  {measured.requests_per_s:8,.0f}/s"
        + (f"  {measured.failures} FAILED" if measured.failures else ""),
        file=sys.stderr,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


if __name__ == "__main__":
    sys.exit(main())
