"""One bounded run of wrk, and what it says about it. It must never hide a request that failed."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.scenarios import Scenario

# Beyond the time asked for, before wrk is taken for stuck.
GRACE_S: Final = 20.0

_DONE = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h),", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_BAD_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_UNIT_S: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class WrkError(Exception):
    """wrk did not run, or said something that is not understood."""


@dataclass(frozen=True, slots=True)
class Load:
    """`failures` are socket errors, timeouts and answers with another status than 2xx or 3xx."""

    requests: int
    elapsed_s: float
    failures: int


def parse(output: str) -> Load:
    """The figures of wrk's standard output."""
    done = _DONE.search(output)
    if done is None:
        raise WrkError(f"there is no 'N requests in T' in what wrk says:\n{output}")
    failures = 0
    errors = _SOCKET_ERRORS.search(output)
    if errors is not None:
        failures += sum(map(int, errors.groups()))
    statuses = _BAD_STATUS.search(output)
    if statuses is not None:
        failures += int(statuses[1])
    return Load(int(done[1]), float(done[2]) * _UNIT_S[done[3]], failures)


def run(scenario: Scenario, port: int, *, seconds: int, cores: set[int], directory: Path) -> Load:
    """`seconds` of closed-loop load from one thread on `cores`."""
    command = [
        *("taskset", "-c", ",".join(map(str, sorted(cores)))),
        *("wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s"),
    ]
    for header in scenario.headers:
        command += ["-H", header]
    if scenario.script:
        script = directory / f"{scenario.name}.lua"
        script.write_text(scenario.script)
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}{scenario.path}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        raise WrkError(
            f"wrk did not end within {GRACE_S:g} s of its time: is port {port} being served?"
        ) from None
    if done.returncode:
        raise WrkError(f"wrk ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return parse(done.stdout)
