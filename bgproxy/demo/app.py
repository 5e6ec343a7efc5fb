"""The demonstration's app: what stands behind the proxy, and a witness of what it was asked to do.

    GET /          tiny answer                  GET /health    200, or 503 after POST /break
    GET /slow      the same after 100 ms        POST /break    and POST /mend
    GET /chunked   an answer in pieces          GET /version   which one this is
    POST /         SHA-256 of the body

Every answer names the version, the upstream and the request (`X-Request`) that it answers. A request that
names itself is written to the journal before it is answered, so that a second time, or none, can be proven.
It must never retry, deduplicate or repair anything: it would hide what it is there to show.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

import uvloop

from bgproxy.demo import message
from bgproxy.demo.message import Malformed, Message

SLOW_S: Final = 0.1
BACKLOG: Final = 4096
PIECES: Final = 4  # of the answer to GET /chunked

_REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    503: b"Service Unavailable",
}


def pieces(request_id: bytes) -> list[bytes]:
    """The body of the answer to GET /chunked, which the load compares with what it got."""
    return [b"piece %d of %b\n" % (number, request_id) for number in range(1, PIECES + 1)]


class App:
    """What all connections share. `journal` is a file descriptor, or None to keep no journal."""

    def __init__(self, version: str, name: str, journal: int | None = None) -> None:
        self.broken = False
        self.stopping = False
        self.journal = journal
        self.identity = b"X-Version: %b\r\nX-Upstream: %b\r\n" % (version.encode(), name.encode())
        self.greeting = f"hello from {version} on {name}\n".encode()
        self.about = f'{{"version":"{version}","upstream":"{name}"}}\n'.encode()
        self.connections: set[Connection] = set()
        self._empty = asyncio.Event()

    async def serve(self, port: int, lame_duck_s: float = 0.0) -> None:
        """Serves until SIGTERM, finishes what is being answered, and returns.

        A lame duck still answers, but says that it is not healthy and that the connection ends: time for
        whoever sends requests to go elsewhere. Without it, a request that crosses the end is lost.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        server = await loop.create_server(lambda: Connection(self), "127.0.0.1", port, backlog=BACKLOG)
        sys.stdout.write(f"ready {server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await stop.wait()
        self.stopping = self.broken = True
        await asyncio.sleep(lame_duck_s)
        server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        self.check_empty()
        await self._empty.wait()

    def check_empty(self) -> None:
        if self.stopping and not self.connections:
            self._empty.set()


class Connection(asyncio.Protocol):
    """`_busy` from a request's end until its answer was written."""

    transport: asyncio.Transport

    def __init__(self, app: App) -> None:
        self._app = app
        self._buffer = b""
        self._busy = False

    def close_if_idle(self) -> None:
        if not self._busy and not self._buffer:
            self.transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._app.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self._app.connections.discard(self)
        self._app.check_empty()

    # Private

    def _advance(self) -> None:
        while self._buffer and not self._busy and not self.transport.is_closing():
            try:
                request = message.read(self._buffer)
            except Malformed as error:
                self._buffer = b""
                self._answer({b"connection": b"close"}, 400, f"{error}\n".encode())
                return
            if request is None:
                return
            self._buffer = self._buffer[request.size :]
            self._process(request)

    def _process(self, request: Message) -> None:
        app, fields = self._app, request.fields
        method, _, target = request.start.rpartition(b" ")[0].partition(b" ")
        path = target.partition(b"?")[0]
        if app.journal is not None and b"x-request" in fields:
            os.write(app.journal, b"%b %b %b %.6f\n" % (method, path, fields[b"x-request"], time.monotonic()))
        self._busy = True
        match method, path:
            case b"GET", b"/":
                self._answer(fields, 200, app.greeting)
            case b"POST", b"/":
                self._answer(fields, 200, sha256(request.body).hexdigest().encode())
            case b"GET", b"/slow":
                asyncio.get_running_loop().call_later(SLOW_S, self._answer_later, fields, app.greeting)
            case b"GET", b"/chunked":
                self._answer_in_pieces(fields)
            case b"GET", b"/health" if app.broken:
                self._answer(fields, 503, b'{"status":"broken"}\n')
            case b"GET", b"/health":
                self._answer(fields, 200, b'{"status":"ok"}\n')
            case b"POST", b"/break" | b"/mend":
                app.broken = path == b"/break"
                self._answer(fields, 200, b"broken\n" if app.broken else b"mended\n")
            case b"GET", b"/version":
                self._answer(fields, 200, app.about)
            case _:
                self._answer(fields, 404, b"there is nothing here\n")

    def _answer(self, fields: dict[bytes, bytes], status: int, body: bytes) -> None:
        head = self._head(fields, status)
        self.transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        self._end(fields)

    def _answer_later(self, fields: dict[bytes, bytes], body: bytes) -> None:
        if not self.transport.is_closing():
            self._answer(fields, 200, body)
            self._advance()

    def _answer_in_pieces(self, fields: dict[bytes, bytes]) -> None:
        first, *others = pieces(fields.get(b"x-request", b"-"))
        head = self._head(fields, 200)
        self.transport.write(b"%bTransfer-Encoding: chunked\r\n\r\n%b" % (head, message.chunk(first)))
        rest = b"".join(map(message.chunk, [*others, b""]))
        # Not in one write: whoever relays it has to put up with a body that comes bit by bit.
        asyncio.get_running_loop().call_soon(self._answer_rest, fields, rest)

    def _answer_rest(self, fields: dict[bytes, bytes], rest: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(rest)
            self._end(fields)
            self._advance()

    def _head(self, fields: dict[bytes, bytes], status: int) -> bytes:
        head = b"HTTP/1.1 %d %b\r\n%b" % (status, _REASONS[status], self._app.identity)
        if b"x-request" in fields:
            head += b"X-Request: %b\r\n" % fields[b"x-request"]
        if self._closes(fields):
            head += b"Connection: close\r\n"
        return head

    def _end(self, fields: dict[bytes, bytes]) -> None:
        self._busy = False
        if self._closes(fields):
            self.transport.close()

    def _closes(self, fields: dict[bytes, bytes]) -> bool:
        return self._app.stopping or fields.get(b"connection") == b"close"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bgproxy.demo.app", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--version", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--journal", type=Path, help="file to append every processed request to")
    parser.add_argument(
        "--lame-duck-s", type=float, default=0.0, help="go on answering after SIGTERM, as unhealthy"
    )
    given = parser.parse_args(arguments)
    journal: int | None = None
    if given.journal is not None:
        journal = os.open(given.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    async def serve() -> None:
        await App(given.version, given.name, journal).serve(given.port, given.lame_duck_s)

    try:
        uvloop.run(serve())
    except OSError as error:
        sys.stderr.write(f"cannot listen on 127.0.0.1:{given.port}: {os.strerror(error.errno or 0)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
