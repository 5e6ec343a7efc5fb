"""CPU per request of bgproxy beside other proxies, all measured in one run; with --workers, one worker beside two.

    python -m benchmarks.cpu [--rounds 5] [--seconds 3] [--scenario NAME]... [--proxy NAME]...
    python -m benchmarks.cpu --workers
    python -m benchmarks.cpu --render benchmarks/results/cpu.json

It must never tune one side only, and never report a round in which requests failed as if they had not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks import contenders, cpu_plot, cpu_report, cpu_time, machine, rounds, websocket_load, wrk
from benchmarks.contenders import FIELD, PROGRAMS, Backend, Contender, ContenderError, Program
from benchmarks.contenders.process import find, said_version
from benchmarks.memory import footprint
from benchmarks.rounds import Round
from benchmarks.scenarios import PROXY_BOUND, SCENARIOS, Scenario, Setting
from benchmarks.wrk import Load, LoadError

RESULTS: Final = Path(__file__).parent / "results"
TOOLS: Final = ("nginx", "wrk", "taskset")
# Not measured: connections to the backend are made, and Python specialises its bytecode.
WARM_UP_S: Final = 1
MOST_WORKERS: Final = 2
EXIT_INTERRUPTED: Final = 130


class NotPossible(Exception):
    """This machine cannot run the benchmark; the text says what is missing and how to get it."""


class Bench:
    """Where everything runs, and for how long."""

    def __init__(
        self,
        directory: Path,
        behind: Backend,
        *,
        seconds: int,
        total: int,
        load_cores: set[int],
        proxy_cores: set[int],
    ) -> None:
        self._directory = directory
        self._behind = behind
        self._seconds = seconds
        self._rounds = total
        self._load_cores = load_cores
        self._proxy_cores = proxy_cores

    def rehearse(self, programs: Sequence[Program], setting: Setting) -> None:
        """Everybody is started and ended once, so that whoever cannot run is told of before an hour has passed."""
        with ExitStack() as stack:
            self._field(stack, programs, [1], setting, "rehearsal")
        print(f"rehearsed: {setting}", file=sys.stderr)

    def compare(
        self,
        programs: Sequence[Program],
        crews: Sequence[int],
        setting: Setting,
        scenarios: Sequence[Scenario],
    ) -> list[Round]:
        """All rounds of the scenarios of one setting, with everybody in it started once."""
        found: list[Round] = []
        with ExitStack() as stack:
            field = self._field(stack, programs, crews, setting)
            for scenario in scenarios:
                for contender in field:
                    self._load(contender, scenario, WARM_UP_S)
            for number in range(1, self._rounds + 1):
                # The other way round in every other round: who comes first has a cooler machine.
                order = field if number % 2 else field[::-1]
                for scenario in scenarios:
                    for contender in order:
                        found.append(self.measure(number, contender, scenario))
                        _tell(found[-1], self._rounds)
        return found

    def measure(self, number: int, contender: Contender, scenario: Scenario) -> Round:
        """One round: the books before, load, the books after."""
        workers = sorted(contender.worker_pids)
        began = time.monotonic()
        tree_before = cpu_time.cpu_s(contender.pids)
        workers_before = [cpu_time.cpu_s([pid]) for pid in workers]
        cores_before = sum(map(cpu_time.core_s, self._proxy_cores))
        load = self._load(contender, scenario, self._seconds)
        contender.check_whole()
        tree = cpu_time.cpu_s(contender.pids) - tree_before
        cores = sum(map(cpu_time.core_s, self._proxy_cores)) - cores_before
        passed = time.monotonic() - began
        # Where load and proxies share cores, what else runs there is the load.
        is_apart = self._proxy_cores.isdisjoint(self._load_cores)
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
            p50_s=load.p50_s,
            p99_s=load.p99_s,
            pss_bytes=footprint.pss_bytes(contender.pids),
        )

    # Private

    def _field(
        self,
        stack: ExitStack,
        programs: Sequence[Program],
        crews: Sequence[int],
        setting: Setting,
        word: str = "measured",
    ) -> list[Contender]:
        """Whoever can do it, running until the stack ends."""
        field: list[Contender] = []
        for workers in crews:
            for program in programs:
                if setting in program.cannot:
                    continue
                place = self._directory / f"{program.name}-{setting.replace(' ', '-')}-{workers}-{word}"
                one = contenders.contender(
                    program, self._behind, place, self._proxy_cores, workers=workers, setting=setting
                )
                field.append(stack.enter_context(one))
        return field

    def _load(self, contender: Contender, scenario: Scenario, seconds: int) -> Load:
        if scenario.setting is Setting.WEBSOCKET:
            load = websocket_load.run(scenario, contender.port, seconds=seconds, cores=self._load_cores)
        else:
            load = wrk.run(
                scenario,
                contender.port,
                seconds=seconds,
                cores=self._load_cores,
                directory=self._directory,
                cookies=contender.cookies,
            )
        if not load.requests:
            raise LoadError(f"{contender.name} answered no request of scenario {scenario.name!r}")
        return load


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as it is stored."""
    proxy_cores, load_cores = _cores(sorted(os.sched_getaffinity(0)), scaling=given.workers)
    programs = _programs(given.proxy, scaling=given.workers)
    scenarios = [PROXY_BOUND] if given.workers else [SCENARIOS[name] for name in given.scenario or SCENARIOS]
    crews = range(1, MOST_WORKERS + 1) if given.workers else [1]
    found: list[Round] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bgproxy-bench-")))
        bench = Bench(
            directory,
            stack.enter_context(contenders.backend(directory / "backend", load_cores)),
            seconds=given.seconds,
            total=given.rounds,
            load_cores=load_cores,
            proxy_cores=proxy_cores,
        )
        settings = list(dict.fromkeys(scenario.setting for scenario in scenarios))
        if len(settings) > 1:
            for setting in settings:
                bench.rehearse(programs, setting)
        for setting in settings:
            mine = [scenario for scenario in scenarios if scenario.setting is setting]
            found += bench.compare(programs, crews, setting, mine)
    facts = machine.circumstances("benchmarks.cpu")
    for program in programs:
        facts["versions"].setdefault(program.versioned or program.name, said_version(program.version))
    return {
        "kind": "workers" if given.workers else "cpu",
        **facts,
        "settings": {
            "rounds": given.rounds,
            "seconds": given.seconds,
            "proxy_cores": sorted(proxy_cores),
            "load_cores": sorted(load_cores),
        },
        "left_out": {
            program.name: {
                scenario.name: program.cannot[scenario.setting]
                for scenario in scenarios
                if scenario.setting in program.cannot
            }
            for program in programs
        },
        "summary": rounds.scale(found) if given.workers else rounds.compare(found),
        "rounds": [asdict(each) for each in found],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=_positive, default=3, help="of each round")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="default: all of them")
    parser.add_argument("--proxy", action="append", choices=list(PROGRAMS), help="default: all of them")
    parser.add_argument("--workers", action="store_true", help="one worker beside two, instead of scenarios")
    parser.add_argument("--render", type=Path, metavar="JSON", help="measure nothing: the report of this")
    parser.add_argument("--results", type=Path, help=f"directory for JSON, report and plot; {RESULTS}")
    given = parser.parse_args(arguments)
    if given.workers and given.scenario:
        parser.error("--workers has one scenario of its own: leave out --scenario")
    if given.workers and given.proxy:
        parser.error("--workers compares nginx and bgproxy: leave out --proxy")
    if given.render:
        return _write(json.loads(given.render.read_text()), given.results or given.render.parent)
    # As ^C does, so that nothing that was started is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _prepare(_programs(given.proxy, scaling=given.workers))
        result = run(given)
    except (NotPossible, ContenderError, LoadError) as error:
        print(f"cpu benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cpu benchmark: interrupted; everything that was started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    results = given.results or RESULTS
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{result['kind']}.json").write_text(json.dumps(result, indent=1) + "\n")
    return _write(result, results)


# Private


def _write(result: dict[str, Any], results: Path) -> int:
    """The report, and where there is one, the picture; 1 if a request failed."""
    report = cpu_report.render(result)
    (results / f"{result['kind']}.md").write_text(report)
    if result["kind"] == "cpu":
        cpu_plot.draw(result, results / "cpu.png")
    print(report)
    return 1 if any(each["failures"] for each in result["summary"]) else 0


def _programs(names: Sequence[str] | None, *, scaling: bool) -> list[Program]:
    """In the order of the field, whatever the order in which they were named."""
    standard = ["nginx", "bgproxy"] if scaling else list(PROGRAMS)
    return [program for program in FIELD if program.name in (names or standard)]


def _prepare(programs: Sequence[Program]) -> None:
    # nginx lives where only root looks for programs.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [name for name in TOOLS if find(name) is None]
    if missing:
        raise NotPossible(
            f"{', '.join(missing)} not found: `make bench` as root installs them, or "
            "`apt-get install -y nginx-light haproxy wrk util-linux`"
        )
    for program in programs:
        if find(program.version[0]) is None:
            raise NotPossible(
                f"{program.name} not found: {program.how_to_get}; or choose others with --proxy"
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
        f"round {measured.number}/{total}  {measured.scenario:<16} {measured.proxy:<7} "
        f"x{measured.workers}  {measured.cpu_us:7.1f} µs/request  {measured.requests_per_s:8,.0f}/s"
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
