"""One upstream of the matrix: a small app that is well, or fails every n-th request in one way, and keeps a journal.

    python -m benchmarks.faults.upstream --port 8001 --name a --journal a.journal --fault reset --every 2

It answers what `bgproxy.demo.load` asks for. The journal has a line for each event: `got` (a request was read
whole, so it counts as done), `fault` (it is being failed), `done` (its answer was written), `accepted` (a
connection was, and is being failed), `crossed` (a request came to a connection that was just being closed). SIGUSR1 changes the mind of its health check, SIGTERM ends it gracefully:
unhealthy at first, then closed. It must never retry, deduplicate or repair anything.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import uvloop

from benchmarks.faults import misbehaviour
from benchmarks.faults.misbehaviour import MISBEHAVIOURS, Misbehaviour
from bgproxy.demo import message
from bgproxy.demo.app import BACKLOG, SLOW_S, pieces
from bgproxy.demo.message import Message

# Faults of a connection, which happen before there is a request.
ON_ACCEPT: Final = "reset-on-accept"
DEAF: Final = "deaf"
PEEK_BYTES: Final = 4096
_NAMED: Final = re.compile(rb"([A-Z]+) .*?\r\nX-Request: (\S+)\r\n", re.DOTALL).match
LAME_DUCK_S: Final = 0.5  # how long it serves on after SIGTERM, as unhealthy


class Answer(NamedTuple):
    """What a request should be answered with. `name` is the request's."""

    name: bytes
    body: bytes

    @property
    def head_bytes(self) -> int:
        return len(self.counted()) - len(self.body)

    def counted(self, fields: bytes = b"", *, counts: int | None = None) -> bytes:
        """The whole answer, with further fields; `counts` is what it says of its length, if that is wrong."""
        length = len(self.body) if counts is None else counts
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (self._start(b"200 OK"), fields, length, self.body)

    def begun(self, fields: bytes = b"") -> bytes:
        """The head of an answer in chunks, with further fields."""
        return b"%b%bTransfer-Encoding: chunked\r\n\r\n" % (self._start(b"200 OK"), fields)

    def error(self) -> bytes:
        return self._start(b"500 Internal Server Error") + b"Content-Length: 7\r\n\r\nbroken\n"

    def _start(self, status: bytes) -> bytes:
        return b"HTTP/1.1 %b\r\nX-Request: %b\r\n" % (status, self.name)


class Upstream:
    """What all connections share. `journal` is a file descriptor; every `every`-th request is failed."""

    def __init__(self, journal: int, misbehave: Misbehaviour | None, every: int) -> None:
        self.misbehave = misbehave
        self.healthy = True
        self.stopping = False
        self.connections: set[Connection] = set()
        self.empty = asyncio.Event()
        self._journal = journal
        self._every = every
        self._count = 0

    def note(self, event: bytes, method: bytes = b"-", name: bytes = b"-") -> None:
        os.write(self._journal, b"%b %b %b %.6f\n" % (event, method, name, time.monotonic()))

    def is_next(self) -> bool:
        """Whether this request is one of those that are failed."""
        self._count += 1
        return self.misbehave is not None and self._count % self._every == 0

    def turn(self) -> None:
        self.healthy = not self.healthy


class Connection(asyncio.Protocol):
    """`_asked` is the request that is being answered, by its method and name."""

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._asked: tuple[bytes, bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._leaves = False

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """As `call_later`, unless the connection ends before."""
        self._timer = self._loop.call_later(seconds, call, *arguments)

    def answered(self) -> None:
        """The answer has been written: on to the next request."""
        if self._asked is not None:
            self._upstream.note(b"done", *self._asked)
            self._asked = None
        if self._upstream.stopping:
            self.transport.close()
        else:
            self._loop.call_soon(self._advance)

    def close_if_idle(self) -> None:
        if self._asked is None and not self._buffer:
            self.transport.close()

    def leave(self) -> None:
        """Closes an idle connection; a request that is already on its way there is noted, but not read."""
        if self._asked is None and not self._buffer:
            self._leaves = not self._note_crossed()
            self.transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._upstream.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        if self._timer is not None:
            self._timer.cancel()
        if self._leaves:
            self._note_crossed()  # again, because a while has passed since it was closed
        self._upstream.connections.discard(self)
        if self._upstream.stopping and not self._upstream.connections:
            self._upstream.empty.set()

    # Private

    def _note_crossed(self) -> bool:
        crossed = _peek(self.transport)
        if crossed:
            found = _NAMED(crossed)
            self._upstream.note(b"crossed", *(found.groups() if found else ()))
        return bool(crossed)

    def _advance(self) -> None:
        if not self._buffer or self._asked is not None or self.transport.is_closing():
            return
        request = message.read(self._buffer)
        if request is None:
            return
        self._buffer = self._buffer[request.size :]
        if self._timer is not None:
            self._timer.cancel()  # it was for an idle connection
        self._process(request)

    def _process(self, request: Message) -> None:
        upstream = self._upstream
        method, _, path = request.start.rpartition(b" ")[0].partition(b" ")
        if path == b"/health":
            status = b"200 OK" if upstream.healthy else b"503 Service Unavailable"
            self.transport.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
            return
        name = request.fields[b"x-request"]
        self._asked = method, name
        upstream.note(b"got", method, name)
        match method, path:
            case b"POST", _:
                answer = Answer(name, sha256(request.body).hexdigest().encode())
            case _, b"/chunked":
                answer = Answer(name, b"".join(pieces(name)))
            case _:
                answer = Answer(name, b"hello\n" * 8)
        if upstream.misbehave is not None and upstream.is_next():
            upstream.note(b"fault", method, name)
            upstream.misbehave(self, answer)
        elif path == b"/slow":
            self.later(SLOW_S, self._write, answer)
        elif path == b"/chunked":
            self._write_pieces(answer)
        else:
            self._write(answer)

    def _write(self, answer: Answer) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer.counted(self._closes()))
            self.answered()

    def _write_pieces(self, answer: Answer) -> None:
        first, *others = pieces(answer.name)
        self.transport.write(answer.begun(self._closes()) + message.chunk(first))
        rest = b"".join(map(message.chunk, [*others, b""]))
        # Not in one write: whoever relays it has to put up with a body that comes bit by bit.
        self._loop.call_soon(self._write_rest, rest)

    def _write_rest(self, rest: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(rest)
            self.answered()

    def _closes(self) -> bytes:
        return b"Connection: close\r\n" if self._upstream.stopping else b""


class Rejecting(asyncio.Protocol):
    """Resets every connection as soon as there is one."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._upstream.note(b"accepted")
        misbehaviour.reset(cast("asyncio.Transport", transport))


async def serve(upstream: Upstream, port: int, *, fault: str, tls: ssl.SSLContext | None) -> None:
    """Serves until SIGTERM, finishes what is being answered, and returns."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, upstream.turn)
    protocol: type[Connection | Rejecting] = Rejecting if fault == ON_ACCEPT else Connection
    server = await loop.create_server(lambda: protocol(upstream), "127.0.0.1", port, backlog=BACKLOG, ssl=tls)
    say_ready()
    await stop.wait()
    upstream.stopping, upstream.healthy = True, False
    if upstream.connections:
        await asyncio.sleep(LAME_DUCK_S)
    server.close()
    for connection in list(upstream.connections):
        connection.close_if_idle()
    if upstream.connections:
        await upstream.empty.wait()


def be_deaf(port: int) -> None:
    """Listens with a queue that is full and never emptied: the kernel drops every further SYN. Ends at SIGTERM."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        queued: list[socket.socket] = []
        while len(queued) < 8:  # a queue of 0 takes one or two
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            queued.append(client)
        say_ready()
        signal.sigwait({signal.SIGTERM})


def _peek(transport: asyncio.Transport) -> bytes:
    """What has come and was not read; encrypted, if the connection is."""
    own = transport.get_extra_info("socket")
    if own is None:
        return b""  # it was below TLS, and has gone
    with socket.socket(fileno=os.dup(own.fileno())) as twin:
        try:
            return twin.recv(PEEK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return b""  # there is nothing, or the peer has gone


def say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.upstream", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True, help="file to append every event to")
    parser.add_argument("--fault", choices=[ON_ACCEPT, DEAF, *MISBEHAVIOURS], default="")
    parser.add_argument("--every", type=int, default=1, help="fail every n-th request only")
    parser.add_argument("--cert", type=Path, help="speak TLS with this certificate")
    parser.add_argument("--key", type=Path, help="and this key")
    given = parser.parse_args(arguments)
    if given.fault == DEAF:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        be_deaf(given.port)
        return 0
    journal = os.open(given.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    tls = None
    if given.cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(given.cert, given.key)

    async def run() -> None:
        upstream = Upstream(journal, MISBEHAVIOURS.get(given.fault), given.every)
        await serve(upstream, given.port, fault=given.fault, tls=tls)

    uvloop.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
