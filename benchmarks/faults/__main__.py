"""`python -m benchmarks.faults`: every fault of an upstream under load, and what came of it in a report.

Writes faults.{json,md}; ends with 0 only if every row is passed. It must never repeat a row or leave one out.
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
from benchmarks.faults import contenders, report
from benchmarks.faults.contenders import CONTENDERS, is_comparable
from benchmarks.faults.matrix import CLIENTS, MATRIX
from benchmarks.faults.scenario import REQUESTS, Scenario, judge
from benchmarks.faults.site import UPSTREAMS, WORKERS, Site, SiteError

RESULTS: Final = Path(__file__).parents[1] / "results"
EXIT_INTERRUPTED: Final = 130


def play(scenario: Scenario, *, clients: int, requests: int, proxy: str = "bgproxy") -> dict[str, Any]:
    """One row, with processes of its own; the logs and journals are kept if bgproxy does not pass it."""
    with Site(scenario, clients=clients, proxy=proxy) as site:
        try:
            row = judge(scenario, site.play(requests))
        except SiteError:
            site.keep = True
            print(f"The logs are in {site.directory}.", file=sys.stderr)
            raise
        if row["wrong"] and proxy == "bgproxy":
            site.keep = True
            print(f"The books and logs are in {site.directory}.", file=sys.stderr)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    given = _options(arguments)
    chosen = [each for each in MATRIX if all(word in each.name for word in given.fault)]
    # As ^C does, so that nothing outlives the site.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = machine.circumstances("benchmarks.faults")
    settings = {"clients": given.clients, "requests": given.requests}
    result["settings"] = {**settings, "workers": WORKERS, "upstreams": len(UPSTREAMS)}
    rows = result["rows"] = []
    try:
        if given.beside:
            result["versions"]["haproxy"] = contenders.haproxy_version()
        for scenario in chosen:
            rows.append(play(scenario, clients=given.clients, requests=given.requests))
            print(report.line(rows[-1]), flush=True)
            if given.beside and is_comparable(scenario.service, scripted=scenario.script is not None):
                rows[-1]["beside"] = {
                    name: play(scenario, clients=given.clients, requests=given.requests, proxy=name)
                    for name in CONTENDERS
                }
    except (SiteError, FileNotFoundError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("faults: interrupted; everything that was started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "faults.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (given.results / "faults.md").write_text(report.render(result))
    print(report.verdict(result))
    return 1 if any(row["wrong"] for row in rows) else 0


# Private


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument(
        "--fault", action="append", default=[], help="only rows with this in their name (repeatable)"
    )
    parser.add_argument(
        "--beside",
        action="store_true",
        help="show what nginx and HAProxy do in the rows that they can be told of",
    )
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="for each row without a script")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where faults.json and faults.md go")
    given = parser.parse_args(arguments)
    if given.clients < 1 or given.requests < given.clients:
        parser.error("there have to be a client, and a request for each")
    return given


if __name__ == "__main__":
    sys.exit(main())
