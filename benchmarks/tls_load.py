"""The demonstration's clients over TLS: they trust one authority, and verify whom they talk to every time.

    python -m benchmarks.tls_load --port PORT --authority CA.pem --results FILE

They ask and judge as they do without TLS, and must never retry; a handshake that fails is a failed request.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import uvloop

from bgproxy.demo.ledger import Outcome
from bgproxy.demo.load import RECONNECT_S, Client, Load, Sink
from bgproxy.demo.results import ResultWriter

HOST: Final = "app.example.com"  # whose certificate has to be presented


class TlsLoad(Load):
    """`clients` of them, on one kept-alive connection each. New connections are made with `context`."""

    def __init__(self, port: int, sink: Sink, *, authority: str, clients: int, think_s: float = 0.0) -> None:
        super().__init__(port, sink, clients=0, think_s=think_s)
        self.context = ssl.create_default_context(cafile=authority)
        self._clients = [TlsClient(self, number) for number in range(clients)]


class TlsClient(Client):
    def __init__(self, load: TlsLoad, number: int) -> None:
        super().__init__(load, f"tls-{number}", number)
        self._context = load.context

    async def _connect(self) -> None:
        load = self._load
        try:
            await self._loop.create_connection(
                lambda: self, load.host, load.port, ssl=self._context, server_hostname=HOST
            )
        except OSError:
            self._end(Outcome.REFUSED)
            self.wait(RECONNECT_S)


async def run(file: TextIOWrapper, *, port: int, authority: str, clients: int, think_s: float) -> None:
    """Load until SIGTERM."""
    results = ResultWriter(file)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    load = TlsLoad(port, results.add, authority=authority, clients=clients, think_s=think_s)
    load.start()
    await stop.wait()
    await load.stop()
    results.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls_load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--authority", required=True, help="file with whom the clients trust, in PEM")
    parser.add_argument("--results", type=Path, required=True, help="file to append every request to")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--think-s", type=float, default=0.0, help="pause between answer and next request")
    given = parser.parse_args(arguments)
    with given.results.open("a") as file:
        uvloop.run(
            run(
                file,
                port=given.port,
                authority=given.authority,
                clients=given.clients,
                think_s=given.think_s,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
