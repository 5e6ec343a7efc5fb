"""`python -m benchmarks.latency`: what bgproxy and nginx add to latency at 25, 50 and 75 % of what nginx can do.

Writes latency.{json,md,png}; ends with 0 only if the promise is kept. It must never repeat a measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import contenders, cpu_time, machine, wrk
from benchmarks.contenders import ContenderError
from benchmarks.latency import client, plot, report, samples
from benchmarks.latency.client import ClientError
from benchmarks.latency.samples import DIRECT, OURS, REFERENCE, SHARES, Sample, Verdict
from benchmarks.scenarios import KEEP_ALIVE
from benchmarks.wrk import LoadError

RESULTS: Final = Path(__file__).parents[1] / "results"
EXIT_INTERRUPTED: Final = 130
# How often nginx is asked what it can do.
TRIALS: Final = 3
# Beyond the time that a client needs, before it is taken for stuck.
GRACE_S: Final = 30.0

Json = dict[str, Any]


def run(*, total: int, seconds: int) -> Json:
    """Everything, as it is stored."""
    proxy_core, load_core = _cores()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bgproxy-latency-")))
        behind = stack.enter_context(contenders.backend(directory / "backend", {load_core}))
        nginx = stack.enter_context(contenders.nginx(behind, directory / "nginx", {proxy_core}, workers=1))
        ours = stack.enter_context(contenders.bgproxy(behind, directory / "bgproxy", {proxy_core}, workers=1))
        ports = {DIRECT: behind.blue, REFERENCE: nginx.port, OURS: ours.port}
        trials = [
            wrk.run(KEEP_ALIVE, nginx.port, seconds=seconds, cores={load_core}, directory=directory)
            for _ in range(TRIALS)
        ]
        most_per_s = median(each.requests / each.elapsed_s for each in trials)
        _tell(f"nginx does {most_per_s:,.0f} requests/s")
        found: list[Sample] = []
        for number in range(1, total + 1):
            # The other way round in every other round: who comes first has a cooler machine.
            order = list(ports)[:: 1 if number % 2 else -1]
            for share in SHARES:
                for target in order:
                    found.append(
                        _measure(number, share, target, ports[target], share * most_per_s, seconds, load_core)
                    )
                    _tell(_line(found[-1], total))
        nginx.check_whole()
        ours.check_whole()
    return {
        **machine.circumstances("benchmarks.latency"),
        "settings": {
            "rounds": total,
            "seconds": seconds,
            "connections": client.CONNECTIONS,
            "nginx_per_s": most_per_s,
            "proxy_cores": [proxy_core],
            "load_cores": [load_core],
        },
        "summary": samples.summarise(found),
        "samples": [asdict(each) for each in found],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="at each rate, for each target, in each round")
    parser.add_argument("--render", type=Path, metavar="JSON", help="measure nothing: the report of this")
    parser.add_argument("--results", type=Path, help=f"where latency.json, .md and .png go; {RESULTS}")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    if given.render:
        return _write(json.loads(given.render.read_text()), given.results or given.render.parent)
    # As ^C does, so that nothing that was started is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = run(total=given.rounds, seconds=given.seconds)
    except (ContenderError, LoadError, ClientError) as error:
        print(f"latency: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError as error:
        print(f"latency: {error.filename} not found: `make latency` as root installs it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("latency: interrupted; everything that was started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    results = given.results or RESULTS
    results.mkdir(parents=True, exist_ok=True)
    (results / "latency.json").write_text(json.dumps(result, indent=1) + "\n")
    return _write(result, results)


# Private


def _write(result: Json, results: Path) -> int:
    text = report.render(result)
    (results / "latency.md").write_text(text)
    plot.draw(result, results / "latency.png")
    print(text)
    return 0 if samples.verdict(result["summary"]) is Verdict.KEPT else 1


def _cores() -> tuple[int, int]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise ContenderError("this process may use one core only: proxy and load need one each")
    return allowed[0], allowed[1]


def _measure(
    number: int, share: float, target: str, port: int, rate_per_s: float, seconds: int, core: int
) -> Sample:
    command = [
        *("taskset", "-c", str(core), sys.executable, "-m", "benchmarks.latency.client"),
        *("--port", str(port), "--rate", str(rate_per_s), "--seconds", str(seconds)),
    ]
    began, busy_s = time.monotonic(), cpu_time.core_s(core)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        raise ClientError(f"the client of {target} did not end within {GRACE_S:g} s of its time") from None
    if done.returncode:
        raise ClientError(f"{target}: {done.stderr.strip()}")
    said = json.loads(done.stdout)
    return Sample(
        number=number,
        share=share,
        target=target,
        rate_per_s=rate_per_s,
        requests=said["requests"],
        requests_per_s=said["requests_per_s"],
        latency_us=said["latency_us"],
        late_us=said["late_us"],
        client=said["busy"],
        load_core=(cpu_time.core_s(core) - busy_s) / (time.monotonic() - began),
    )


def _line(found: Sample, total: int) -> str:
    latency = "  ".join(f"{name} {found.latency_us[name]:8,.0f}" for name in ("p50", "p99", "p99.9"))
    return f"round {found.number}/{total}  {found.share:.0%}  {found.target:<8}  {latency} µs"


def _tell(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
