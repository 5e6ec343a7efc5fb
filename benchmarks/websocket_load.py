"""Closed-loop WebSocket clients: each sends a message, waits until it is back, and sends the next one.

    python -m benchmarks.websocket_load --port 8080 --connections 64 --seconds 3

Prints what it counted as JSON. It must never count an answer that is not the message that was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Final, cast

import uvloop

from benchmarks import websocket_frames as frames
from benchmarks.scenarios import Scenario, host
from benchmarks.wrk import GRACE_S, Load, LoadError

MESSAGE_BYTES: Final = 64
CONNECT_S: Final = 10.0
_END: Final = b"\r\n\r\n"


@dataclass(slots=True)
class Books:
    """What all clients have seen."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    is_over: bool = False

    def load(self, elapsed_s: float) -> Load:
        ordered = sorted(self.latencies) or [0.0]
        return Load(
            len(self.latencies), elapsed_s, self.failures, _percentile(ordered, 50), _percentile(ordered, 99)
        )


class Client(asyncio.Protocol):
    """`ready` is done when the connection has been upgraded; then `go` begins."""

    _transport: asyncio.Transport

    def __init__(self, books: Books) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._books = books
        self._key = base64.b64encode(os.urandom(16))
        payload = os.urandom(MESSAGE_BYTES)
        self._message = frames.from_client(payload, os.urandom(4))
        self._answer = frames.from_server(payload)
        self._data = b""
        self._sent = 0.0
        self._has_failed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            b"GET /chat HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % (host(0).encode(), self._key)
        )

    def go(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            self._upgrade(data)
            return
        if self._data:
            data = self._data + data
        if data == self._answer:
            self._data = b""
            if not self._books.is_over:
                self._books.latencies.append(time.perf_counter() - self._sent)
                self.go()
        elif self._answer.startswith(data):
            self._data = data
        else:
            self._fail()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - however it was lost
        if not self._books.is_over:
            self._fail()

    def close(self) -> None:
        self._transport.abort()

    # Private

    def _upgrade(self, data: bytes) -> None:
        self._data += data
        if _END not in self._data:
            return
        is_right = self._data.startswith(b"HTTP/1.1 101 ") and frames.accept(self._key) in self._data
        self._data = b""
        if is_right:
            self.ready.set_result(None)
        else:
            self._fail()

    def _fail(self) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        self._books.failures += 1
        if not self.ready.done():
            self.ready.set_exception(LoadError("a WebSocket was not opened, or not as RFC 6455 has it"))
        self._transport.abort()


async def measure(port: int, *, connections: int, seconds: float) -> Load:
    """All are connected before the first message is sent."""
    loop = asyncio.get_running_loop()
    books = Books()
    clients: list[Client] = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Client(books), "127.0.0.1", port)
        async with asyncio.timeout(CONNECT_S):
            await client.ready
        clients.append(client)
    began = time.perf_counter()
    for client in clients:
        client.go()
    await asyncio.sleep(seconds)
    elapsed_s = time.perf_counter() - began
    books.is_over = True
    for client in clients:
        client.close()
    return books.load(elapsed_s)


def run(scenario: Scenario, port: int, *, seconds: int, cores: set[int]) -> Load:
    """The same in a process of its own on `cores`."""
    command = [
        *("taskset", "-c", ",".join(map(str, sorted(cores)))),
        *(sys.executable, "-m", "benchmarks.websocket_load", "--port", str(port)),
        *("--connections", str(scenario.connections), "--seconds", str(seconds)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        raise LoadError(f"the WebSocket clients did not end within {GRACE_S:g} s of their time") from None
    if done.returncode:
        raise LoadError(f"the WebSocket clients ended with exit code {done.returncode}:\n{done.stderr}")
    return Load(**json.loads(done.stdout))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.websocket_load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    given = parser.parse_args()
    try:
        load = uvloop.run(measure(given.port, connections=given.connections, seconds=given.seconds))
    except (LoadError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(load)))
    return 0


# Private


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    sys.exit(main())
