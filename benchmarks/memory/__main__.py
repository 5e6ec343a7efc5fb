"""`python -m benchmarks.memory`: what slow peers and idle connections cost a worker, in a report.

Writes memory.{json,md}; ends with 0 only if every promise is kept. It must never repeat a measurement.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.memory import budgets, measure, report
from benchmarks.memory.crowd import CrowdError
from benchmarks.memory.measure import Slow
from benchmarks.memory.site import Setting, SiteError

RESULTS: Final = Path(__file__).parents[1] / "results"
EXIT_INTERRUPTED: Final = 130

SLOW: Final = (
    Slow("Content-Length"),
    Slow("chunked", chunked=True),
    Slow("Content-Length; readers read nothing at first", reader_bytes_per_s=0),
    Slow("Content-Length; access log", Setting(access_log=True)),
    Slow("Content-Length; every GET mirrored", Setting(mirror=True)),
    Slow("Content-Length; TLS to clients", Setting(listener_tls=True)),
    Slow("chunked; TLS to the upstream", Setting(upstream_tls=True), chunked=True),
    Slow("chunked; TLS on both sides", Setting(listener_tls=True, upstream_tls=True), chunked=True),
)
EACH: Final = 100
SIZE_BYTES: Final = 50 * budgets.MIB
SLOW_S: Final = 10.0

CONNECTIONS: Final = 10_000
TLS_CONNECTIONS: Final = 2_000
CHURN: Final = 5_000
REQUESTS: Final = 3_000


def run() -> dict[str, Any]:
    """Everything, as it is stored."""
    result = machine.circumstances("benchmarks.memory")
    result["settings"] = {
        "each": EACH,
        "size_bytes": SIZE_BYTES,
        "slow_s": SLOW_S,
    }
    result["transfers"] = []
    for row in SLOW:
        _tell(row.about)
        result["transfers"].append(measure.transfers(row, each=EACH, size_bytes=SIZE_BYTES, slow_s=SLOW_S))
    _tell("idle connections")
    result["idle"] = [
        measure.idle(connections, asked=asked, tls=tls)
        for connections, tls in ((CONNECTIONS, False), (TLS_CONNECTIONS, True))
        for asked in (True, False)
    ]
    _tell("connections that end")
    result["churn"] = [measure.churn(CHURN, tls=tls) for tls in (False, True)]
    _tell("a client among idle connections")
    result["disturbance"] = [
        measure.disturbance(connections, requests=REQUESTS) for connections in (2_000, CONNECTIONS)
    ]
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where memory.json and memory.md go")
    given = parser.parse_args(arguments)
    # As ^C does, so that nothing outlives its site.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = run()
    except (SiteError, CrowdError) as error:
        print(f"memory: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("memory: interrupted; everything that was started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    text = report.render(result)
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "memory.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.results / "memory.md").write_text(text)
    print(text)
    return 1 if budgets.broken(result) else 0


# Private


def _tell(what: str) -> None:
    print(f"{what} …", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
