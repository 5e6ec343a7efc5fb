"""One bounded run of wrk, and what it says about it. It must never hide a request that failed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.scenarios import SERVICES, Scenario, Setting, host

# Beyond the time asked for, before wrk is taken for stuck.
GRACE_S: Final = 20.0

_DONE = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h),", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_BAD_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_UNIT_S: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

# Requests are made before the load begins; one after the other is sent, and then the first one again.
_ROTATION: Final = """\
local requests, turn = {{}}, 0
init = function()
  for index, value in ipairs({{{values}}}) do
    wrk.headers["{header}"] = value
    requests[index] = wrk.format()
  end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
"""


class LoadError(Exception):
    """A load generator did not run, or said something that is not understood."""


@dataclass(frozen=True, slots=True)
class Load:
    """`failures` are socket errors, timeouts and answers with another status than 2xx or 3xx.

    Latencies are those of a closed loop: a request waits for the ones before it, too.
    """

    requests: int
    elapsed_s: float
    failures: int
    p50_s: float
    p99_s: float


def parse(output: str) -> Load:
    """The figures of wrk's standard output."""
    done = _DONE.search(output)
    if done is None:
        raise LoadError(f"there is no 'N requests in T' in what wrk says:\n{output}")
    failures = 0
    errors = _SOCKET_ERRORS.search(output)
    if errors is not None:
        failures += sum(map(int, errors.groups()))
    statuses = _BAD_STATUS.search(output)
    if statuses is not None:
        failures += int(statuses[1])
    elapsed_s = float(done[2]) * _UNIT_S[done[3]]
    return Load(int(done[1]), elapsed_s, failures, _latency_s(output, 50), _latency_s(output, 99))


def run(
    scenario: Scenario,
    port: int,
    *,
    seconds: int,
    cores: set[int],
    directory: Path,
    cookies: Sequence[str] = (),
) -> Load:
    """`seconds` of closed-loop load from one thread on `cores`."""
    command = [
        *("taskset", "-c", ",".join(map(str, sorted(cores)))),
        *("wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency"),
    ]
    for header in scenario.headers:
        command += ["-H", header]
    script = script_of(scenario, cookies)
    if script:
        path = directory / f"{scenario.name}.lua"
        path.write_text(script)
        command += ["-s", str(path)]
    scheme = "https" if scenario.setting is Setting.TLS else "http"
    command.append(f"{scheme}://127.0.0.1:{port}{scenario.path}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        raise LoadError(
            f"wrk did not end within {GRACE_S:g} s of its time: is port {port} being served?"
        ) from None
    if done.returncode:
        raise LoadError(f"wrk ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return parse(done.stdout)


def script_of(scenario: Scenario, cookies: Sequence[str] = ()) -> str:
    """The scenario's own, or one that goes round the values of a header."""
    if not scenario.rotates:
        return scenario.script
    values = list(map(host, range(SERVICES))) if scenario.rotates == "Host" else cookies
    if not values:
        raise LoadError(f"scenario {scenario.name!r} has no values for the header {scenario.rotates}")
    # A JSON string of plain characters is a Lua string, too.
    return _ROTATION.format(header=scenario.rotates, values=", ".join(map(json.dumps, values)))


# Private


def _latency_s(output: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m|h) *$", output, re.MULTILINE)
    if found is None:
        raise LoadError(f"there is no latency for {percent}% in what wrk says:\n{output}")
    return float(found[1]) * _UNIT_S[found[2]]
