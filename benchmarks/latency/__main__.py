"""`python -m benchmarks.latency`: what bgproxy and nginx add to latency at 25, 50 and 75 % of what nginx can do.

Writes latency.{json,md,png}; ends with 0 only if the promise is kept. It must never repeat a measurement.
"""

from __future__ import annotations

import json
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

from benchmarks import command, contenders, cpu_time, machine, wrk
from benchmarks.command import Command, tell
from benchmarks.contenders import ContenderError
from benchmarks.latency import client, plot, report, samples
from benchmarks.latency.client import ClientError
from benchmarks.latency.samples import DIRECT, OURS, REFERENCE, SHARES, Sample, Verdict
from benchmarks.scenarios import KEEP_ALIVE
from benchmarks.wrk import LoadError

# How often nginx is asked what it can do.
TRIALS: Final = 3
# Beyond the time that a client needs, before it is taken for stuck.
GRACE_S: Final = 30.0

Json = dict[str, Any]


def run(*, total: int, seconds: int) -> Json:
    """Everything, as it is stored."""
    proxy_core, load_core = command.two_cores()
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
        tell(f"nginx does {most_per_s:,.0f} requests/s")
        found: list[Sample] = []
        for number in range(1, total + 1):
            # The other way round in every other round: who comes first has a cooler machine.
            order = list(ports)[:: 1 if number % 2 else -1]
            for share in SHARES:
                for target in order:
                    found.append(
                        _measure(number, share, target, ports[target], share * most_per_s, seconds, load_core)
                    )
                    tell(_line(found[-1], total))
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
    parser = command.parser("latency", __doc__)
    parser.add_argument("--seconds", type=int, default=5, help="at each rate, for each target, in each round")
    return Command(
        "latency",
        parser,
        lambda given: run(total=given.rounds, seconds=given.seconds),
        (ContenderError, LoadError, ClientError),
        report.render,
        plot.draw,
        lambda result: samples.verdict(result["summary"]) is Verdict.KEPT,
    ).run(arguments)


# Private


def _measure(
    number: int, share: float, target: str, port: int, rate_per_s: float, seconds: int, core: int
) -> Sample:
    asking = [
        *("taskset", "-c", str(core), sys.executable, "-m", "benchmarks.latency.client"),
        *("--port", str(port), "--rate", str(rate_per_s), "--seconds", str(seconds)),
    ]
    began, busy_s = time.monotonic(), cpu_time.core_s(core)
    try:
        done = subprocess.run(asking, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
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


if __name__ == "__main__":
    sys.exit(main())
