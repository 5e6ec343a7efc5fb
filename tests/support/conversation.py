"""A data plane in the middle of a conversation: clients on one side, scripted upstreams on the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from bgproxy import model
from bgproxy.model import (
    Balance,
    Forwarding,
    Health,
    Keepalive,
    PoolView,
    ServiceView,
    Snapshot,
)
from bgproxy.proxy.dataplane import DataPlane
from bgproxy.proxy.listener import Listener
from bgproxy.shared_memory import snapshot
from bgproxy.shared_memory.counters import PARKED_REQUESTS, PARKED_SIZE, CounterReader, Totals, WorkerBlock
from bgproxy.shared_memory.layout import SharedMemory
from tests.support.peers import PATIENCE_S, Peer, ScriptedUpstream, narrow
from tests.support.views import changed, service_view

# What clients are told about to upstreams is the business of the tests for that.
SILENT = Forwarding(x_forwarded=False, via=False, request_id=False)


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> str:
    """A request without a body."""
    return "\n".join([f"{method} {path} HTTP/{version}", "Host: app", *fields]) + "\n\n"


def post(body: str, *fields: str) -> str:
    return get("/", f"Content-Length: {len(body)}", *fields, method="POST") + body


def forwarded(request: str, *, without: str = "") -> str:
    """The same request as the upstream gets it; `without` is a line that is not forwarded."""
    head, body = request.replace("HTTP/1.0", "HTTP/1.1").split("\n\n", 1)
    lines = [line for line in head.split("\n") if line != without]
    return "\n".join(lines) + "\n\n" + body


def answer(body: str = "", *fields: str, status: str = "200 OK") -> str:
    """A response with a Content-Length."""
    return "\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]) + "\n\n" + body


class Conversation:
    """A data plane, its two pools of upstreams and its clients. `plane` may be looked into."""

    def __init__(
        self,
        blue: list[ScriptedUpstream],
        green: list[ScriptedUpstream],
        listener: dict[str, Any],
        **changes: Any,
    ) -> None:
        self.blue, self.green = blue, green
        self.listener = {"forwarding": SILENT, **listener}
        self.clients: list[Peer] = []
        self.notified = 0
        self.errors: list[dict[str, Any]] = []
        self.view = changed(_view(self.pool("blue"), self.pool("green")), **changes)
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
            service = next(iter(self.plane.table.services.values()))
            assert (service.cells[PARKED_REQUESTS], service.cells[PARKED_SIZE]) == (0, 0)
            assert self.worker.connections == 0
            assert self.errors == []
        finally:
            self.plane.close()
            self.stop_listening()
            for sock in self._sockets.values():
                sock.close()
            os.close(self._memory.fd)

    # What happens

    async def client(
        self, listener: str = "public", *, source: str = "", slow: bool = False, accepted: bool = True
    ) -> Peer:
        """A new client, connected, and `accepted` unless nobody does.

        With `slow` the kernel holds next to nothing of what the client does not read. `source` is its address.
        """
        address = self._sockets[listener].getsockname()
        sock = socket.socket(self._sockets[listener].family)
        if source:
            sock.bind((source, 0))
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
        self.view = changed(self.view, **changes)
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
        listener = self._listeners[name] = Listener(
            self.plane, sock, model.Listener(name, "", preview=name == "preview", **self.listener)
        )
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

    def port(self, listener: str) -> int:
        """Where it listens; 0 on a unix socket."""
        name = self._sockets[listener].getsockname()
        return 0 if isinstance(name, str) else int(name[1])

    def totals(self, upstream: ScriptedUpstream) -> Totals:
        return self._reader.totals(*upstream.place)

    def kept(self, upstream: ScriptedUpstream) -> int:
        """How many idle connections to it are in the keepalive cache; the gauge is told at the next sweep."""
        live = self.plane.table.upstreams.get(upstream.place[1])
        return 0 if live is None else len(live.idle)

    @property
    def downstream(self) -> Any:
        """The proxy's end of the only client's connection."""
        (downstream,) = self.plane.downstreams
        return downstream

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
    directory: Path,
    *,
    blue: int = 1,
    green: int = 1,
    unix_upstreams: bool = False,
    listener: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[Conversation]:
    """Blue is active, everything is healthy.

    `changes` are fields of the ServiceView or of its policy, `listener` those of the listeners.
    """

    def upstream(number: int) -> ScriptedUpstream:
        return ScriptedUpstream(number, directory / f"{number}.sock" if unix_upstreams else None)

    blues = [upstream(number) for number in range(1, blue + 1)]
    greens = [upstream(number) for number in range(blue + 1, blue + green + 1)]
    talk = Conversation(blues, greens, listener or {}, **changes)
    await talk.begins(directory / "listener.sock")
    try:
        yield talk
    finally:
        await talk.ends()


def _view(active: PoolView, idle: PoolView) -> ServiceView:
    return service_view(
        name="web",
        slot=1,
        tag=1000,
        hosts=("app",),
        paths=("/",),
        active=active,
        idle=idle,
        balance=Balance.ROUND_ROBIN,
        keepalive=Keepalive(idle_s=60.0),  # what closes sooner was closed for a reason
    )
