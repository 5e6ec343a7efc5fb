"""What clients notice of a switch by bgproxy, and of one by each peer's own recommended way.

    python -m benchmarks.cutover [--proxy NAME]... [--switches 20] [--seconds 40] [--clients 64]
    python -m benchmarks.cutover --requests 1000000 --switches 100

The second form is bgproxy alone, against its budget. Writes cutover.{json,md,png} or cutover-long.{json,md,png}; ends with 0
only if bgproxy lost nothing and, in the second form, kept every promise. It must never repeat a run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.contenders import ContenderError
from benchmarks.cutover import budgets, facts, plot, report
from benchmarks.cutover.peers import PEERS, Peer
from benchmarks.cutover.play import GAP_S, MARGIN_S, THINK_S, Plan, fits, play
from bgproxy.demo.stage import UPSTREAMS, WORKERS, Stage, StageError

RESULTS: Final = Path(__file__).parents[1] / "results"
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    given = _options(arguments)
    chosen = [each for each in PEERS if not given.proxy or each.name in given.proxy]
    plan = Plan(given.seconds, given.switches, given.clients, given.requests)
    # As ^C does, so that nothing outlives its stage.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = machine.circumstances("benchmarks.cutover")
    result["settings"] = {
        "seconds": None if given.requests else given.seconds,
        "requests": given.requests,
        "switches": given.switches,
        "clients": given.clients,
        "think_s": THINK_S,
        "gap_s": GAP_S,
        "workers": WORKERS,
        "upstreams_per_side": UPSTREAMS,
    }
    result["proxies"] = {}
    try:
        versions = {each.name: each.version() for each in chosen}  # what is missing is said before all else
        for peer in chosen:
            print(f"{peer.name} …", file=sys.stderr)
            result["proxies"][peer.name] = {
                "version": versions[peer.name],
                "way": peer.way,
                **_run(peer, plan),
            }
    except (StageError, ContenderError) as error:
        print(f"cutover: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cutover: interrupted; everything that was started has been stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    return _publish(result, given.results)


# Private


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cutover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--proxy", action="append", choices=[each.name for each in PEERS], help="only this one (repeatable)"
    )
    parser.add_argument("--switches", type=int, default=20, help="by each proxy")
    parser.add_argument("--seconds", type=float, default=40.0, help="of load on each proxy")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument(
        "--requests", type=int, default=0, help="bgproxy alone, for at least so many, against its budget"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the results")
    given = parser.parse_args(arguments)
    if given.requests < 0 or given.switches < 1 or given.clients < 1:
        parser.error("there have to be a switch and a client, and no negative number of requests")
    if given.requests and given.proxy not in (None, ["bgproxy"]):
        parser.error("--requests is for bgproxy alone: its budget is not its peers'")
    if given.requests:
        given.proxy = ["bgproxy"]
    elif not fits(given.seconds, given.switches):
        least = (given.switches - 1) * GAP_S + 2 * MARGIN_S
        parser.error(f"{given.switches} switches want more than {least:g} s: --seconds")
    return given


def _run(peer: Peer, plan: Plan) -> dict[str, Any]:
    with Stage() as stage:
        try:
            books = play(stage, peer, plan, os.sched_getaffinity(0))
        except (StageError, ContenderError):
            stage.keep = True
            print(f"The logs are in {stage.directory}.", file=sys.stderr)
            raise
        found = facts.of(books)
        if peer.name == "bgproxy" and budgets.lost(found):
            stage.keep = True
            print(f"The books and logs are in {stage.directory}.", file=sys.stderr)
    return found


def _publish(result: dict[str, Any], directory: Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    name = report.name(result)
    text = report.render(result)
    (directory / f"{name}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (directory / f"{name}.md").write_text(text)
    plot.draw(result, directory / f"{name}.png", title=report.verdict(result))
    print(text)
    ours = result["proxies"].get("bgproxy")
    if ours is None:
        return 0
    if result["settings"]["requests"]:
        return 0 if all(is_kept for *_, is_kept in budgets.judge(ours)) else 1
    return 1 if budgets.lost(ours) else 0


if __name__ == "__main__":
    sys.exit(main())
