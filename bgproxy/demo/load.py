"""Closed-loop clients: each sends a request, checks the whole answer, and only then sends the next.

Every request has an id of its own, half of them are POST, and nothing is ever retried: what a client of
flesh and blood would have seen is what is recorded. It judges single answers; verdicts about the whole are
the ledger's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import re
import secrets
import signal
import ssl
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from io import TextIOWrapper
from pathlib import Path
from typing import Final, NamedTuple, cast

import uvloop

from bgproxy.demo import message
from bgproxy.demo.app import pieces
from bgproxy.demo.ledger import Outcome, Request
from bgproxy.demo.message import Malformed, Message
from bgproxy.demo.results import ResultWriter

# What one client asks for in turn, over and over. Ten of twenty are POST, one takes 100 ms.
FAST, SLOW, PIECES, COUNTED, CHUNKED = range(5)
ROUND: Final = (
    *(COUNTED, FAST, CHUNKED, FAST, COUNTED, PIECES, COUNTED, FAST, CHUNKED, FAST),
    *(COUNTED, SLOW, COUNTED, FAST, CHUNKED, FAST, COUNTED, PIECES, COUNTED, FAST),
)
SMALL_BODY_BYTES: Final = 64
LARGE_BODY_BYTES: Final = 4096  # every other POST
TLS_NAME: Final = "app.example.com"
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [2-5][0-9]{2} ").match
RECONNECT_S: Final = 0.05  # after a refused connection
STOP_GRACE_S: Final = 5.0  # for answers that are outstanding when the load ends

Sink = Callable[[Request], None]


class Asked(NamedTuple):
    """A request and what its answer has to be. `first` and `rest` are written one after the other."""

    id: str
    method: str
    path: str
    first: bytes
    rest: bytes
    body: bytes | None  # None: any

    def judge(self, answer: Message) -> Outcome:
        """What the client makes of a complete answer."""
        if not answer.start.startswith(b"HTTP/1.1 200 "):
            return Outcome.ANSWERED  # with a status that says it all
        if answer.fields.get(b"x-request") != self.id.encode():
            return Outcome.WRONG_ID
        if self.body is not None and answer.body != self.body:
            return Outcome.WRONG_BODY
        return Outcome.ANSWERED


def ask(kind: int, name: str, size_bytes: int) -> Asked:
    """A request of this kind; `size_bytes` is for those with a body."""
    fields = b"Host: demo\r\nX-Request: %b\r\n" % name.encode()
    if kind not in {COUNTED, CHUNKED}:
        path = {FAST: "/", SLOW: "/slow", PIECES: "/chunked"}[kind]
        body = b"".join(pieces(name.encode())) if kind == PIECES else None
        return Asked(name, "GET", path, b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), fields), b"", body)
    sent = name.encode().ljust(size_bytes, b".")
    digest = sha256(sent).hexdigest().encode()
    line = b"POST / HTTP/1.1\r\n"
    if kind == COUNTED:
        first = b"%b%bContent-Length: %d\r\n\r\n%b" % (line, fields, len(sent), sent)
        return Asked(name, "POST", "/", first, b"", digest)
    half = size_bytes // 2
    first = b"%b%bTransfer-Encoding: chunked\r\n\r\n%b" % (line, fields, message.chunk(sent[:half]))
    return Asked(name, "POST", "/", first, message.chunk(sent[half:]) + message.chunk(b""), digest)


class Load:
    """`clients` of them, on one kept-alive connection each. `sink` gets every request when it has ended.

    After so many `requests` none begins another one; `quiet` is set when none is outstanding any more.
    With `authority`, a file in PEM, they speak TLS, and at every connection `TLS_NAME` is verified.
    """

    def __init__(
        self,
        port: int,
        sink: Sink,
        *,
        clients: int,
        host: str = "127.0.0.1",
        think_s: float = 0.0,
        preview: bool = False,
        authority: Path | None = None,
        requests: float = math.inf,
    ) -> None:
        self.tls = None if authority is None else ssl.create_default_context(cafile=authority)
        self.host = host
        self.port = port
        self.sink = sink
        self.think_s = think_s
        self.preview = preview
        self.left = requests
        self.stopping = False
        self.outstanding = 0
        self.quiet = asyncio.Event()
        run = secrets.token_hex(3)
        self._clients = [Client(self, f"{run}-{number}", number) for number in range(clients)]

    def start(self) -> None:
        """Begins; the clients' first requests are spread over the think time."""
        for number, client in enumerate(self._clients):
            client.wait(self.think_s * number / len(self._clients))

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Sends nothing more, waits for outstanding answers, and reports those that never came."""
        self.stopping = True
        if self.outstanding:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.quiet.wait(), grace_s)
        for client in self._clients:
            client.stop()


class Client(asyncio.Protocol):
    """One closed loop. `_asked` is the request that is outstanding, if any."""

    def __init__(self, load: Load, name: str, turn: int) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._name = name
        # the loop
        self._turn = turn
        self._count = 0
        self._asked: Asked | None = None
        self._started = 0.0
        self._timer: asyncio.Handle | None = None
        # the connection
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._buffer = b""

    def wait(self, seconds: float) -> None:
        """Asks the next question after so long."""
        if not self._load.stopping:
            self._timer = self._loop.call_later(seconds, self._next)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._end(Outcome.UNANSWERED)
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._send()

    def data_received(self, data: bytes) -> None:
        transport, asked = self._transport, self._asked
        assert transport is not None  # noqa: S101 - there is data, so there is a connection
        if asked is None:
            # An answer to nothing. It cannot be told apart from the next one, so it counts as a request.
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._ask()
            self._end(Outcome.MALFORMED)
            transport.close()
            return
        self._buffer = self._buffer + data if self._buffer else data
        try:
            answer = _read_alone(self._buffer)
        except Malformed:
            self._end(Outcome.MALFORMED)
            transport.close()
            return
        if answer is None:
            return
        self._buffer = b""
        self._end(asked.judge(answer), answer)
        if answer.fields.get(b"connection", b"").lower() == b"close":
            transport.close()
        elif self._load.think_s:
            self.wait(self._load.think_s)
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the request knows enough
        self._transport = None
        if self._asked is not None:
            self._end(Outcome.TRUNCATED if self._buffer else Outcome.RESET)
        if self._timer is None:
            self.wait(self._load.think_s)

    # Private

    def _next(self) -> None:
        self._timer = None
        if self._load.stopping or (self._transport is not None and self._transport.is_closing()):
            return  # in the second case, the end of the connection goes on
        self._ask()
        if self._transport is not None:
            self._send()
        else:
            self._connecting = self._loop.create_task(self._connect())

    def _ask(self) -> None:
        self._count += 1
        self._turn += 1
        size_bytes = LARGE_BODY_BYTES if self._count % 2 else SMALL_BODY_BYTES
        name = f"{self._name}-{self._count}"
        self._asked = ask(ROUND[self._turn % len(ROUND)], name, size_bytes)
        self._started = time.monotonic()
        load = self._load
        load.outstanding += 1
        load.left -= 1
        if load.left <= 0:
            load.stopping = True

    async def _connect(self) -> None:
        load = self._load
        try:
            await self._loop.create_connection(
                lambda: self,
                load.host,
                load.port,
                ssl=load.tls,
                server_hostname=TLS_NAME if load.tls else None,
            )
        except OSError:
            self._end(Outcome.REFUSED)
            self.wait(RECONNECT_S)

    def _send(self) -> None:
        asked, transport = self._asked, self._transport
        assert asked is not None and transport is not None  # noqa: S101, PT018 - both callers have both
        transport.write(asked.first)
        if asked.rest:
            # Later, so that the proxy gets a head without the whole of its body.
            self._loop.call_soon(self._send_rest, asked)

    def _send_rest(self, asked: Asked) -> None:
        if asked is self._asked and self._transport is not None and not self._transport.is_closing():
            self._transport.write(asked.rest)

    def _end(self, outcome: Outcome, answer: Message | None = None) -> None:
        asked, load = self._asked, self._load
        if asked is None:
            return
        self._asked = None
        ended = time.monotonic()
        status, version, upstream = 0, "", ""
        if answer is not None:
            fields = answer.fields
            status = int(answer.start[9:12])
            version = fields.get(b"x-version", b"").decode()
            upstream = fields.get(b"x-upstream", b"").decode()
        load.sink(
            Request(
                asked.id,
                asked.method,
                asked.path,
                self._started,
                ended,
                outcome,
                status,
                version,
                upstream,
                load.preview,
            )
        )
        load.outstanding -= 1
        if load.stopping and load.outstanding == 0:
            load.quiet.set()


def _read_alone(data: bytes) -> Message | None:
    answer = message.read(data)
    if answer is not None:
        if answer.size < len(data):
            raise Malformed("there is more than the answer")
        if not _STATUS_LINE(answer.start):
            raise Malformed(f"{answer.start!r} is no status line")
    return answer


async def run(
    file: TextIOWrapper, *, port: int, clients: int, think_s: float, preview: bool, authority: Path | None
) -> None:
    """Load until SIGTERM."""
    results = ResultWriter(file)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    load = Load(port, results.add, clients=clients, think_s=think_s, preview=preview, authority=authority)
    load.start()
    await stop.wait()
    await load.stop()
    results.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bgproxy.demo.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--results", type=Path, required=True, help="file to append every request to")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--think-s", type=float, default=0.0, help="pause between answer and next request")
    parser.add_argument("--preview", action="store_true", help="mark the requests as sent to a preview")
    parser.add_argument("--authority", type=Path, help="speak TLS, and trust this authority (PEM)")
    given = parser.parse_args(arguments)
    with given.results.open("a") as file:
        uvloop.run(
            run(
                file,
                port=given.port,
                clients=given.clients,
                think_s=given.think_s,
                preview=given.preview,
                authority=given.authority,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
