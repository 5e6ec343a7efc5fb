"""The clients of the matrix: those of the demonstration, which check every answer, for a number of requests.

They end when so many requests have ended, when the time is up, or at SIGTERM. They must never retry.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from io import TextIOWrapper
from pathlib import Path

import uvloop

from bgproxy.demo.load import Load
from bgproxy.demo.results import ResultWriter


async def run(
    file: TextIOWrapper, *, port: int, clients: int, requests: int, seconds: float, think_s: float
) -> None:
    results = ResultWriter(file)
    load = Load(port, results.add, clients=clients, think_s=think_s, requests=requests)
    load.start()
    waiting = asyncio.ensure_future(load.quiet.wait())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, waiting.cancel)
    await asyncio.wait([waiting], timeout=seconds)
    waiting.cancel()
    await load.stop()  # what is outstanding by now will be seen to be unanswered
    results.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--results", type=Path, required=True, help="file to append every request to")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True, help="end after so many")
    parser.add_argument("--seconds", type=float, required=True, help="end after so long")
    parser.add_argument("--think-s", type=float, default=0.0, help="pause between answer and next request")
    given = parser.parse_args(arguments)
    with given.results.open("a") as file:
        uvloop.run(
            run(
                file,
                port=given.port,
                clients=given.clients,
                requests=given.requests,
                seconds=given.seconds,
                think_s=given.think_s,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
