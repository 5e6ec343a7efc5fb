"""What clients notice of a switch: the demonstration's apps and load, bgproxy, switches at random moments.

    python -m benchmarks.zero_downtime [--seconds 30] [--switches 20] [--clients 64] [--tls]

Writes zero-downtime.{json,md,png}, or zero-downtime-tls.{json,md,png}; ends with 0 only if no request failed
and none got a stale answer. It must never retry a switch or leave out a request.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import machine, zero_downtime_plot, zero_downtime_report
from benchmarks.tls_stage import TlsStage
from benchmarks.zero_downtime_report import Switch
from bgproxy.demo import report
from bgproxy.demo.ledger import Change, Kind, Ledger
from bgproxy.demo.results import ResultReader
from bgproxy.demo.stage import SIDES, UPSTREAMS, WORKERS, Stage, StageError

RESULTS: Final = Path(__file__).parent / "results"
# Between a client's requests: a busy machine, but one that is not measured at its limit.
THINK_S: Final = 0.02
# Without switches at both ends, so that there is something to compare with.
MARGIN_S: Final = 1.0
READY_S: Final = 20.0
POLL_S: Final = 0.05
EXIT_INTERRUPTED: Final = 130


def play(stage: Stage, ledger: Ledger, *, seconds: float, switches: int, clients: int) -> list[Switch]:
    """The whole run; afterwards the ledger knows all that happened."""
    active, idle = SIDES
    for side in SIDES:
        stage.start_apps(side)
    stage.start_proxy()
    until(stage.is_ready, "bgproxy to be ready")
    for side in SIDES:
        until(partial(is_healthy, stage, side), f"{side} to be healthy")
    ledger.changes.append(Change(Kind.START, 0.0, 0.0, frozenset({SIDES[active]})))
    results = ResultReader(stage.start_load("load", stage.public, clients=clients, think_s=THINK_S))
    until(lambda: _has_begun(ledger, results), "the load's first answers")
    began = ledger.requests[0].started
    done = []
    for moment in sorted(random.uniform(MARGIN_S, seconds - MARGIN_S) for _ in range(switches)):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        stage.check_alive()
        done.append(_switch(stage, ledger, idle))
        active, idle = idle, active
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    stage.stop("load")
    ledger.add(results.read())
    stage.stop("bgproxy")
    stage.stop(*stage.apps)
    for name in stage.apps:
        ledger.add_journal(name, stage.journal(name))
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zero_downtime", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of load")
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tls", action="store_true", help="clients speak TLS to bgproxy")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the results")
    given = parser.parse_args(arguments)
    if given.seconds <= 2 * MARGIN_S or given.switches < 1 or given.clients < 1:
        parser.error(f"there has to be a switch, a client, and more than {2 * MARGIN_S:g} seconds")
    # As ^C does, so that nothing outlives the stage.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Before the load, which would be in the machine's load average.
    circumstances = machine.circumstances("benchmarks.zero_downtime")
    ledger = Ledger()
    with TlsStage() if given.tls else Stage() as stage:
        try:
            switches = play(
                stage, ledger, seconds=given.seconds, switches=given.switches, clients=given.clients
            )
        except StageError as error:
            stage.keep = True
            print(f"zero downtime: {error}\nThe logs are in {stage.directory}.", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("zero downtime: interrupted; everything that was started has been stopped", file=sys.stderr)
            return EXIT_INTERRUPTED
        is_clean, verdict = report.verdict(ledger, [])
        if not is_clean:
            stage.keep = True
            print(f"The books and logs are in {stage.directory}.", file=sys.stderr)
    settings = {
        "seconds": given.seconds,
        "switches": given.switches,
        "clients": given.clients,
        "think_s": THINK_S,
        "workers": WORKERS,
        "upstreams_per_side": UPSTREAMS,
        "tls": given.tls,
    }
    result = {
        **circumstances,
        "settings": settings,
        **zero_downtime_report.facts(ledger, switches, verdict),
    }
    text = zero_downtime_report.render(result)
    given.results.mkdir(parents=True, exist_ok=True)
    name = zero_downtime_report.name(result)
    (given.results / f"{name}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (given.results / f"{name}.md").write_text(text)
    zero_downtime_plot.draw(ledger, given.results / f"{name}.png", title=verdict)
    print(text)
    return 0 if is_clean else 1


def is_healthy(stage: Stage, side: str) -> bool:
    (service,) = stage.call("GET", "/admin/services").body["services"]
    return bool(service["pools"][side]["healthy"])


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise StageError(f"waited {READY_S:g} s for {what}, in vain")
        time.sleep(POLL_S)


# Private


def _switch(stage: Stage, ledger: Ledger, to: str) -> Switch:
    answer = stage.call("POST", "/admin/switch", {"to": to, "reason": "zero-downtime benchmark"})
    if answer.status != 200:
        raise StageError(f"the switch to {to} was refused with {answer.status}: {answer.body}")
    ledger.changes.append(Change(Kind.SWITCH, answer.sent, answer.acked, frozenset({SIDES[to]})))
    return Switch(to, answer.sent, answer.acked, answer.body["sync_milliseconds"] / 1000)


def _has_begun(ledger: Ledger, results: ResultReader) -> bool:
    ledger.add(results.read())
    return bool(ledger.requests)


if __name__ == "__main__":
    sys.exit(main())
