"""A data plane in the middle of a conversation: clients on one side, scripted upstreams on the other.

All sockets are real, so that a test reads as what each side sends and gets. A text stands for a message
with CRLF line ends; bytes are sent and compared as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path
from typing import Any, NamedTuple

from bgproxy.model import (
    Balance,
    Health,
    PoolView,
    Preview,
    Retries,
    ServiceView,
    Snapshot,
    Timeouts,
    UpstreamView,
    WhenUnhealthy,
)
from bgproxy.proxy.dataplane import DataPlane
from bgproxy.proxy.listener import Listener
from bgproxy.shared_memory import snapshot
from bgproxy.shared_memory.counters import CounterReader, Totals, WorkerBlock
from bgproxy.shared_memory.layout import SharedMemory

# Generous: reached only when something is broken.
PATIENCE_S = 5.0
NARROW_BYTES = 4096

FORWARDED = "X-Forwarded-For: 127.0.0.1\nX-Forwarded-Proto: http\n"


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> str:
    """A request without a body."""
    return "\n".join([f"{method} {path} HTTP/{version}", "Host: app", *fields]) + "\n\n"


def post(body: str, *fields: str) -> str:
    return get("/", f"Content-Length: {len(body)}", *fields, method="POST") + body


def forwarded(request: str, *, without: str = "") -> str:
    """The same request as the upstream gets it; `without` is a line that is not forwarded."""
    head, body = request.replace("HTTP/1.0", "HTTP/1.1").split("\n\n", 1)
    lines = [line for line in head.split("\n") if line != without]
    return "\n".join(lines) + "\n" + FORWARDED + "\n" + body


def answer(body: str = "", *fields: str, status: str = "200 OK") -> str:
    """A response with a Content-Length."""
    return "\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]) + "\n\n" + body


def wire(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.replace("\n", "\r\n").encode()


def narrow(sock: Any, buffer: int) -> None:
    """Lets the kernel hold next to nothing in a buffer (SO_SNDBUF or SO_RCVBUF) of that socket."""
    sock.setsockopt(socket.SOL_SOCKET, buffer, NARROW_BYTES)


class Response(NamedTuple):
    status: int
    fields: dict[str, str]  # names in lower case
    body: str


class Peer:
    """One end of a connection: a client's, or the one that an upstream has accepted."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.sent_bytes = 0
        self._received = b""

    # What it does

    async def sends(self, message: str | bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_sendall(self.socket, wire(message))

    async def pours(self, data: bytes) -> None:
        """Sends as much as the other side lets it, and counts."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), 65536):
            piece = data[start : start + 65536]
            await loop.sock_sendall(self.socket, piece)
            self.sent_bytes += len(piece)

    def half_closes(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def closes(self) -> None:
        self.socket.close()

    def aborts(self) -> None:
        """Resets the connection, as the kernel of a killed process does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # What it gets

    async def gets(self, message: str | bytes) -> None:
        """Exactly these bytes come next; more may follow."""
        expected = wire(message)
        ending = "nothing more came"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(self._received) < len(expected) and expected.startswith(self._received):
                    try:
                        if not await self._reads():
                            ending = "the connection was closed"
                            break
                    except ConnectionResetError:
                        ending = "the connection was aborted"
                        break
        got, self._received = self._received[: len(expected)], self._received[len(expected) :]
        if got != expected:
            raise AssertionError(_difference(expected, got + self._received, ending))

    async def gets_until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            while end not in self._received:
                assert await self._reads(), f"closed before {end!r}; got {self._received!r}"
        message, _, self._received = self._received.partition(end)
        return message + end

    async def gets_response(self) -> Response:
        """A response with a Content-Length, or without a body."""
        first, *lines = (await self.gets_until(b"\r\n\r\n"))[:-4].decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(fields.get("content-length", 0))
        return Response(int(first.split(" ")[1]), fields, (await self.gets_bytes(size)).decode())

    async def gets_bytes(self, size: int) -> bytes:
        pieces, left = [self._received], size - len(self._received)
        self._received = b""
        async with asyncio.timeout(PATIENCE_S):
            while left > 0:
                assert await self._reads(), f"closed after {size - left} of {size} bytes"
                pieces.append(self._received)
                left -= len(self._received)
                self._received = b""
        data = b"".join(pieces)
        self._received = data[size:]
        return data[:size]

    async def gets_end(self) -> None:
        """Nothing more, and a clean close."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._reads():
                pass
        assert self._received == b""

    async def gets_abort(self) -> bytes:
        """A connection that is reset, not closed; returns what came before."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self._reads():
                    pass
            except ConnectionResetError:
                return self._received
        raise AssertionError(f"a clean end instead of an abort, after {self._received!r}")

    async def gets_cut_off(self) -> bytes:
        """Any end at all; returns what came before. For messages whose framing shows that they are cut."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                while await self._reads():
                    pass
        return self._received

    def has_nothing(self) -> bool:
        """True if no byte, end or abort is there to be read now."""
        if self._received:
            return False
        try:
            self._received = self.socket.recv(1)
        except BlockingIOError:
            return True
        return False

    # Private

    async def _reads(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 20)
        self._received += data
        return data


class ScriptedUpstream:
    """A listening socket that does what the test says, on connections that the test accepts."""

    def __init__(self, number: int, unix_path: Path | None) -> None:
        self.name = f"upstream-{number}"
        self.place = number + 1, 1000 + number  # slot and tag
        self.peers: list[Peer] = []
        if unix_path is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(unix_path))
            self.address = f"unix:{unix_path}"
        else:
            self.socket = socket.socket()
            self.socket.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.socket.listen(128)
        self.socket.setblocking(False)

    async def accepts(self) -> Peer:
        """The next connection; it fails if the proxy opens none."""
        async with asyncio.timeout(PATIENCE_S):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        sock.setblocking(False)
        peer = Peer(sock)
        self.peers.append(peer)
        return peer

    def is_unused(self) -> bool:
        """True if no connection waits to be accepted."""
        try:
            sock, _ = self.socket.accept()
        except BlockingIOError:
            return True
        sock.close()
        return False

    def refuses(self) -> None:
        """Stops listening: whoever connects is refused."""
        self.socket.close()

    def view(self, health: Health) -> UpstreamView:
        slot, tag = self.place
        return UpstreamView(self.name, self.address, 1, health, slot, tag)


class Conversation:
    """A data plane, its two pools of upstreams and its clients. `plane` may be looked into."""

    def __init__(self, blue: list[ScriptedUpstream], green: list[ScriptedUpstream], **changes: Any) -> None:
        self.blue, self.green = blue, green
        self.clients: list[Peer] = []
        self.notified = 0
        self.errors: list[dict[str, Any]] = []
        self.view = replace(_view(self.pool("blue"), self.pool("green")), **changes)
        self.plane: DataPlane
        self._memory = SharedMemory.create()
        self._writer = snapshot.SnapshotWriter(self._memory)
        self._reader = CounterReader(self._memory)
        self._sockets: dict[str, socket.socket] = {}
        self._listeners: dict[str, Listener] = {}
        self._generation = 0

    async def begins(self, unix_path: Path) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.publish()
        self.plane = DataPlane(self._memory, WorkerBlock(self._memory, 0), self._notify)
        for name, family, address in (
            ("public", socket.AF_INET, ("127.0.0.1", 0)),
            ("preview", socket.AF_INET, ("127.0.0.1", 0)),
            ("unix", socket.AF_UNIX, str(unix_path)),
        ):
            sock = self._sockets[name] = socket.socket(family)
            sock.bind(address)
            sock.listen(128)
            await self.listen(name)

    async def ends(self) -> None:
        """Everybody leaves. Whatever happened before, nothing is left in the proxy or in its books."""
        for client in self.clients:
            client.closes()
        for upstream in (*self.blue, *self.green):
            upstream.refuses()
            for peer in upstream.peers:
                peer.closes()
        try:
            await self.until(lambda: not self.plane.downstreams, "every client connection is gone")
            await self.until(lambda: self.in_flight == 0, "no request is in flight")
            await self.until(lambda: self.tunnels == 0, "no tunnel is left")
            assert self.worker.parked == 0
            assert self.worker.parked_bytes == 0
            assert self.worker.connections == 0
            assert self.errors == []
        finally:
            self.plane.close()
            self.stop_listening()
            for sock in self._sockets.values():
                sock.close()
            os.close(self._memory.fd)

    # What happens

    async def client(self, listener: str = "public", *, slow: bool = False, accepted: bool = True) -> Peer:
        """A new client, connected, and `accepted` unless nobody does.

        With `slow` the kernel holds next to nothing of what the client does not read.
        """
        address = self._sockets[listener].getsockname()
        sock = socket.socket(self._sockets[listener].family)
        if slow:
            narrow(sock, socket.SO_RCVBUF)
        sock.setblocking(False)
        before = set(self.plane.downstreams)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(sock, address)
        peer = Peer(sock)
        self.clients.append(peer)
        if accepted:
            await self.until(lambda: self.plane.downstreams - before, "the client is accepted")
        if slow:
            (downstream,) = self.plane.downstreams - before
            narrow(downstream.transport.get_extra_info("socket"), socket.SO_SNDBUF)
        return peer

    def publish(self, **changes: Any) -> None:
        """A new snapshot. As in production nobody is told: the next request finds it."""
        self.view = replace(self.view, **changes)
        self._generation += 1
        self._writer.publish(snapshot.encode(Snapshot(self._generation, (self.view,))))

    def switch(self, **changes: Any) -> None:
        """Publishes a cutover: active and idle change places."""
        self.publish(active=self.view.idle, idle=self.view.active, **changes)

    def wake(self) -> None:
        """Does what the controller's bell makes a worker do."""
        self.plane.adopt()

    async def listen(self, name: str) -> None:
        """Accepts on a copy of the socket: like the supervisor's, the original outlives its users."""
        sock = self._sockets[name].dup()
        listener = self._listeners[name] = Listener(self.plane, sock, preview=name == "preview")
        await listener.open()

    async def until_later(self, seconds: float) -> None:
        """Returns when so much time has passed on the clock of the data plane."""
        then = self.plane.now + seconds
        await self.until(lambda: self.plane.now > then, "time passes")

    async def sweeps(self) -> None:
        """Returns when all deadlines that have passed by now have been looked at."""
        for _ in range(2):
            await self.until_later(0.0)

    def stop_listening(self) -> None:
        for listener in self._listeners.values():
            listener.close()

    def pool(self, name: str, health: Health = Health.HEALTHY) -> PoolView:
        upstreams = self.blue if name == "blue" else self.green
        return PoolView(name, "v1", tuple(upstream.view(health) for upstream in upstreams))

    # What can be seen of it

    def totals(self, upstream: ScriptedUpstream) -> Totals:
        return self._reader.totals(*upstream.place)

    @property
    def service_totals(self) -> Totals:
        return self._reader.totals(self.view.slot, self.view.tag)

    @property
    def unrouted(self) -> Totals:
        return self._reader.totals(0, 1)

    @property
    def worker(self) -> Any:
        (worker,) = self._reader.workers()
        return worker

    @property
    def in_flight(self) -> int:
        return sum(self.totals(upstream).in_flight for upstream in (*self.blue, *self.green))

    @property
    def tunnels(self) -> int:
        return sum(self.totals(upstream).tunnels for upstream in (*self.blue, *self.green))

    @property
    def buffered_bytes(self) -> int:
        """What the proxy itself keeps for clients that do not read."""
        return sum(each.transport.get_write_buffer_size() for each in self.plane.downstreams)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Lets the loop run, without waiting for time to pass, until `condition` holds."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(0)
        except TimeoutError:
            raise AssertionError(f"it never came about that {what}") from None

    async def until_stuck(self, progress: Callable[[], int]) -> int:
        """The value that `progress` has when a hundred turns of the loop do not change it any more."""
        value, turns = progress(), 0
        async with asyncio.timeout(PATIENCE_S):
            while turns < 100:
                await asyncio.sleep(0)
                value, turns = progress(), turns + 1 if progress() == value else 0
        return value

    # Private

    def _notify(self) -> None:
        self.notified += 1


@contextlib.asynccontextmanager
async def conversation(
    directory: Path, *, blue: int = 1, green: int = 1, unix_upstreams: bool = False, **changes: Any
) -> AsyncIterator[Conversation]:
    """Blue is active, everything is healthy; `changes` are fields of the ServiceView."""

    def upstream(number: int) -> ScriptedUpstream:
        return ScriptedUpstream(number, directory / f"{number}.sock" if unix_upstreams else None)

    blues = [upstream(number) for number in range(1, blue + 1)]
    greens = [upstream(number) for number in range(blue + 1, blue + green + 1)]
    talk = Conversation(blues, greens, **changes)
    await talk.begins(directory / "listener.sock")
    try:
        yield talk
    finally:
        await talk.ends()


def _view(active: PoolView, idle: PoolView) -> ServiceView:
    return ServiceView(
        name="web",
        slot=1,
        tag=1000,
        hosts=("app",),
        paths=("/",),
        active=active,
        idle=idle,
        balance=Balance.ROUND_ROBIN,
        when_unhealthy=WhenUnhealthy.FAIL,
        timeouts=Timeouts(),
        retries=Retries(),
        sticky=None,
        preview=Preview(),
        canary=None,
        hold=None,
        drain_until=None,
    )


def _difference(expected: bytes, got: bytes, ending: str) -> str:
    def lines(message: bytes) -> list[str]:
        return [repr(line)[2:-1] for line in message[:20_000].splitlines(keepends=True)]

    difference = "\n".join(unified_diff(lines(expected), lines(got), "expected", "got", lineterm=""))
    return f"{len(got)} bytes instead of {len(expected)}, then {ending}:\n{difference}"
