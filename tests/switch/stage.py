"""A switchboard with everything real around it but the processes: memory, engine, probes and upstream sockets.

Workers are simulated by one block of the memory, in this process, that obeys at its bell.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bgproxy.engines.embedded import EmbeddedEngine
from bgproxy.errors import StateError
from bgproxy.model import (
    Config,
    Desired,
    Health,
    HealthCheck,
    Hold,
    Pool,
    Service,
    ServiceView,
    Snapshot,
    Upstream,
)
from bgproxy.observability.events import Event, EventLog
from bgproxy.shared_memory import snapshot as snapshots
from bgproxy.shared_memory.counters import (
    IDLE,
    IN_FLIGHT,
    OVERFLOWED,
    PARKED_REQUESTS,
    PARKED_SIZE,
    SEEN,
    TUNNELS,
    WorkerBlock,
)
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.wake import Bell
from bgproxy.state.base import ConfigText, HistoryEntry
from bgproxy.state.memory import MemoryStore
from bgproxy.switch import compose
from bgproxy.switch.calls import Call
from bgproxy.switch.roster import Roster
from bgproxy.switch.switchboard import Switchboard

# Generous: reached only when something is broken.
PATIENCE_S = 10.0

CALL = Call("tester", "because")
TEXT = ConfigText("services: {}\n", "bgproxy.yaml")  # of a configuration that is given as a value
# One check decides, and only those that a test asks for come in time.
CHECK = HealthCheck(kind="tcp", interval_s=3600.0, timeout_s=PATIENCE_S, healthy_after=1, unhealthy_after=1)


class Backend:
    """An upstream's socket, which can go away and come back."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def open(self) -> Backend:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()


class SlowStore(MemoryStore):
    """A disk that takes its time, or fails, when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.fails = False

    async def commit(self, *args: Any, **options: Any) -> Any:
        if not self.open.is_set():
            self.asked.set()
            await self.open.wait()
        if self.fails:
            raise StateError("the disk is full: free some space")
        return await super().commit(*args, **options)


class Worker:
    """What the controller can see of a worker."""

    def __init__(self, memory: SharedMemory, bell: Bell, controller: Bell, index: int = 0) -> None:
        self.obeyed: list[Snapshot] = []
        self.obedient = True
        self._memory = memory
        self._block = WorkerBlock(memory, index)
        self._bell = bell
        self._controller = controller
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(bell.fileno(), self._on_bell)

    @property
    def now(self) -> Snapshot:
        """What is published, also if nobody has woken up for it yet."""
        current = snapshots.read(self._memory)
        assert current is not None
        return snapshots.decode(current[1])

    def service(self, name: str = "web") -> ServiceView:
        return next(each for each in self.now.services if each.name == name)

    def obey(self) -> None:
        current = snapshots.read(self._memory)
        if current is None or self._block.cells[SEEN] == current[0]:
            return
        self.obeyed.append(snapshots.decode(current[1]))
        self._block.cells[SEEN] = current[0]
        self._controller.ring()

    def carry(
        self, pool: str, *, service: str = "web", in_flight: int = 0, tunnels: int = 0, idle: int = 0
    ) -> None:
        """From now on this much is under way between it and the pool's first upstream."""
        view = self.service(service)
        upstream = next(each for each in (view.active, view.idle) if each.name == pool).upstreams[0]
        record = self._block.record(upstream.slot, upstream.tag)
        record[IN_FLIGHT], record[TUNNELS], record[IDLE] = in_flight, tunnels, idle
        self._controller.ring()

    def park(self, requests: int, service: str = "web") -> None:
        view = self.service(service)
        record = self._block.record(view.slot, view.tag)
        record[PARKED_REQUESTS], record[PARKED_SIZE] = requests, requests * 100

    def overflow(self, hold: Hold) -> None:
        self._block.cells[OVERFLOWED] = hold.id
        self._controller.ring()

    def cells(self, slot: int, tag: int) -> memoryview[int]:
        return self._block.record(slot, tag)

    def close(self) -> None:
        self._loop.remove_reader(self._bell.fileno())

    def _on_bell(self) -> None:
        self._bell.silence()
        if self.obedient:
            self.obey()


@dataclass
class Stage:
    config: Config
    store: SlowStore
    engine: EmbeddedEngine
    roster: Roster
    events: EventLog
    board: Switchboard
    worker: Worker
    backends: dict[str, Backend]  # by "service/pool/number"
    started: list[Backend] = field(default_factory=list)

    async def backend(self) -> Backend:
        """One more upstream, which is in no pool yet."""
        backend = await Backend().open()
        self.started.append(backend)
        return backend

    async def check(self, *pools: tuple[str, str]) -> None:
        """Probes all upstreams of these pools (all there are) and takes the results for granted."""
        known = [(name, pool) for name, each in self.board.config.services.items() for pool in each.pools]
        await self.roster.until_known(pools or known, PATIENCE_S)

    async def fail(self, *names: str) -> None:
        for name in names:
            await self.backends[name].close()
            service, pool, _ = name.split("/")
            await self.check((service, pool))

    def active(self, name: str = "web") -> str:
        """What traffic obeys, which is more than what the switchboard says."""
        return self.worker.service(name).active.name

    async def until(self, fits: Callable[[], bool]) -> None:
        """Returns when `fits`, which is asked at every event."""
        if fits():
            return
        async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(self.events.follow(0)) as news:
            async for _ in news:
                if fits():
                    return

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events.since(0) if event.kind == kind]

    async def obeyed(self) -> None:
        """Returns when the worker obeys what is published."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.engine.is_live():
                await self.engine.news()


@contextlib.asynccontextmanager
async def stage(
    services: tuple[str, ...] = ("web",),
    *,
    upstreams: int = 1,
    change: Callable[[Config], Config] = lambda config: config,
    healthy: bool = True,
) -> AsyncIterator[Stage]:
    """Services with a blue and a green pool each, of `upstreams` open sockets, all of them proven healthy."""
    backends: dict[str, Backend] = {}
    for service in services:
        for pool in ("blue", "green"):
            for number in range(upstreams):
                backends[f"{service}/{pool}/{number}"] = await Backend().open()
    config = change(configured(services, backends))
    memory = SharedMemory.create()
    worker_bell, own_bell = Bell(), Bell()
    store, events = SlowStore(), EventLog()
    desired = await first_state(store, config)
    engine = EmbeddedEngine(memory, [worker_bell], own_bell)
    roster = Roster(config, events)
    roster.follow(config, desired)
    worker = Worker(memory, worker_bell, own_bell)
    board = Switchboard(config, desired, store, engine, roster, events)
    all_there_is = Stage(config, store, engine, roster, events, board, worker, backends)
    board.start()
    if healthy:
        await all_there_is.check()
        await all_there_is.obeyed()
    try:
        yield all_there_is
    finally:
        await roster.close()
        engine.close()
        worker.close()
        for backend in (*backends.values(), *all_there_is.started):
            await backend.close()
        for bell in (worker_bell, own_bell):
            for fd in set(bell.fds):
                os.close(fd)
        os.close(memory.fd)


async def first_state(store: MemoryStore, config: Config) -> Desired:
    desired = replace(compose.first(config), generation=1)
    entry = HistoryEntry(time=0.0, action="first_start", actor="bgproxy", outcome="done")
    await store.commit(desired, entry, expected_generation=0)
    return desired


def configured(services: tuple[str, ...], backends: dict[str, Backend]) -> Config:
    def pool(service: str, name: str, version: str) -> Pool:
        mine = [each for key, each in backends.items() if key.startswith(f"{service}/{name}/")]
        return Pool(version, tuple(Upstream(each.address) for each in mine))

    return Config(
        services={
            name: Service(
                name,
                {"blue": pool(name, "blue", "v1"), "green": pool(name, "green", "v2")},
                "blue",
                hosts=(f"{name}.test",),
                health=CHECK,
            )
            for name in services
        },
        listeners=(),
        groups={"all": services},
    )


def of_health(view: ServiceView, pool: str) -> list[Health]:
    found = view.active if view.active.name == pool else view.idle
    return [each.health for each in found.upstreams]
