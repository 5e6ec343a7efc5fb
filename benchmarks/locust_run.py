"""locust with all that it needs: the demonstration's apps, bgproxy, switches to and fro, and locust's own report.

    python -m benchmarks.locust_run [--tls] [--seconds 30] [--users 50] [--switch-every 2]

Writes what locust says to locust.txt, or to locust-tls.txt, and ends as locust does: with 1 if anything failed. It must
never judge a request: that is for locust, a tool that others have made.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.tls_stage import TlsStage
from benchmarks.zero_downtime import RESULTS, is_healthy, until
from bgproxy.demo.stage import SIDES, Stage, StageError

LOCUSTFILE: Final = Path(__file__).parent / "locustfile.py"
# For locust to start, and to end after the time that it was given.
PATIENCE_S: Final = 60.0


def play(stage: Stage, *, seconds: int, users: int, switch_every_s: float) -> tuple[int, str]:
    """The exit code of locust, and what it has said."""
    for side in SIDES:
        stage.start_apps(side)
    stage.start_proxy()
    until(stage.is_ready, "bgproxy to be ready")
    for side in SIDES:
        until(partial(is_healthy, stage, side), f"{side} to be healthy")
    scheme = "https" if isinstance(stage, TlsStage) else "http"
    environ = {
        **os.environ,
        "BGPROXY_SWITCH_EVERY_S": str(switch_every_s),
        "BGPROXY_ADMIN": f"http://127.0.0.1:{stage.admin}",
    }
    if isinstance(stage, TlsStage):
        environ["BGPROXY_CA"] = str(stage.authority)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
            *("-u", str(users), "-r", str(users), "-t", f"{seconds}s"),
            *("-H", f"{scheme}://127.0.0.1:{stage.public}"),
        ],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + PATIENCE_S,
        check=False,
    )
    stage.check_alive()
    return done.returncode, done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locust_run", description=__doc__)
    parser.add_argument("--tls", action="store_true", help="clients speak TLS to bgproxy")
    parser.add_argument("--seconds", type=int, default=30, help="of load")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--switch-every", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the results")
    given = parser.parse_args(arguments)
    # As ^C does, so that nothing outlives the stage.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    circumstances = machine.circumstances("benchmarks.locust_run")
    with TlsStage() if given.tls else Stage() as stage:
        try:
            code, said = play(
                stage, seconds=given.seconds, users=given.users, switch_every_s=given.switch_every
            )
        except StageError as error:
            stage.keep = True
            print(f"locust: {error}\nThe logs are in {stage.directory}.", file=sys.stderr)
            return 1
    text = f"{machine.sentence(circumstances)}\n\n{said}"
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / ("locust-tls.txt" if given.tls else "locust.txt")).write_text(text)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
