"""The scene of the ledger tests: four apps, bgproxy with two workers, a closed-loop load, and the books."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bgproxy.demo.ledger import Change, Crash, Kind, Ledger
from bgproxy.demo.results import ResultReader
from tests.support.running import PATIENCE_S, Running, bgproxy

VERSIONS = {"blue": "v1", "green": "v2"}


class App:
    """One process of the demonstration's app."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.version = VERSIONS[name.partition("-")[0]]
        self.journal = directory / f"{name}.journal"
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, lame_duck_s: float = 0.0) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bgproxy.demo.app", "--port", str(self.port), "--version", self.version),
            *("--name", self.name, "--journal", str(self.journal), "--lame-duck-s", str(lame_duck_s)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        self.port = int(line.split()[1])

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            await process.wait()


class Scene:
    """What a test does while the load runs, written down as it happens."""

    def __init__(self, directory: Path, proxy: Running, apps: dict[str, App]) -> None:
        self.directory = directory
        self.proxy = proxy
        self.apps = apps
        self.ledger = Ledger()
        self.active = "blue"
        self.ack_ms: list[float] = []
        self._loads: list[tuple[asyncio.subprocess.Process, ResultReader]] = []
        self.ledger.changes.append(Change(Kind.START, 0.0, 0.0, frozenset({"v1"})))

    async def start_load(self, *, clients: int = 64, think_s: float = 0.0) -> None:
        results = self.directory / f"results-{len(self._loads)}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bgproxy.demo.load", "--port", self.proxy.addresses["public"].rpartition(":")[2]),
            *("--results", str(results), "--clients", str(clients), "--think-s", str(think_s)),
        )
        reader = ResultReader(results)
        self._loads.append((process, reader))
        await self.until_answered(clients)

    async def until_answered(self, count: int) -> None:
        """Returns when the clients have had this many further answers."""
        wanted = len(self.ledger.requests) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.ledger.requests) < wanted:
                await asyncio.sleep(0.02)
                for _, reader in self._loads:
                    self.ledger.add(reader.read())

    async def change(self, path: str = "/admin/switch", body: Any = None, *, kind: Kind = Kind.SWITCH) -> Any:
        """A cutover to the other side, in the books; returns the answer."""
        to = "green" if self.active == "blue" else "blue"
        sent = time.monotonic()
        code, answer = await self.proxy.call("POST", path, body)
        acked = time.monotonic()
        assert code == 200, answer
        assert answer["to"] == to
        self.ledger.changes.append(Change(kind, sent, acked, frozenset({VERSIONS[to]})))
        self.active = to
        self.ack_ms.append(answer["milliseconds"] - answer["sync_milliseconds"])
        return answer

    async def canary(self, weight: int | None) -> None:
        """A canary, or its end, in the books."""
        sent = time.monotonic()
        body = None if weight is None else {"weight": weight}
        code, answer = await self.proxy.call("DELETE" if weight is None else "PUT", "/admin/canary", body)
        assert code == 200, answer
        versions = {VERSIONS[self.active]} if weight is None else set(VERSIONS.values())
        self.ledger.changes.append(Change(Kind.CANARY, sent, time.monotonic(), frozenset(versions)))

    async def kill(self, pid: int) -> Crash:
        """SIGKILL, and the time until the process is gone."""
        sent = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            while Path(f"/proc/{pid}").exists():
                await asyncio.sleep(0.001)
        return Crash(sent, time.monotonic())

    async def end_load(self) -> Ledger:
        """Stops the clients and completes the books."""
        for process, _ in self._loads:
            process.send_signal(signal.SIGTERM)
        for process, reader in self._loads:
            await process.wait()
            self.ledger.add(reader.read())
        self._loads.clear()
        for app in self.apps.values():
            await app.stop()
            if app.journal.exists():
                self.ledger.add_journal(app.name, app.journal.read_text().splitlines())
        return self.ledger

    async def workers(self) -> list[int]:
        """The pids of the workers that serve."""
        status = await self.proxy.status()
        return [each["pid"] for each in status["workers"] if each["state"] == "serving"]

    async def kill_loads(self) -> None:
        for process, _ in self._loads:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def assert_nothing_lost(ledger: Ledger, *, at_least: int = 1000) -> None:
    """Every request answered exactly once, by a side that was allowed to."""
    assert len(ledger.requests) >= at_least, "the load was too small to show anything"
    found = {
        "errors": [str(each) for each in ledger.errors()],
        "stale": [str(each) for each in ledger.stale()],
        "duplicates": ledger.duplicates(),
        "unprocessed": [str(each) for each in ledger.unprocessed()],
    }
    assert found == {"errors": [], "stale": [], "duplicates": [], "unprocessed": []}


@contextlib.asynccontextmanager
async def scene(directory: Path, **config: Any) -> AsyncIterator[Scene]:
    """Two upstreams on each side, healthy, behind bgproxy; the load is the test's to start."""
    apps = {name: App(name, directory) for name in ("blue-1", "blue-2", "green-1", "green-2")}
    try:
        for app in apps.values():
            await app.start()
        pools = {
            side: {
                "version": VERSIONS[side],
                "upstreams": [f"127.0.0.1:{app.port}" for app in apps.values() if app.name.startswith(side)],
            }
            for side in VERSIONS
        }
        service = {
            "pools": pools,
            "health": {"path": "/health", "interval": "200ms"},
            **config.pop("service", {}),
        }
        async with bgproxy(directory, {"services": {"web": service}, **config}) as proxy:
            await proxy.until_healthy("web", "green")
            here = Scene(directory, proxy, apps)
            try:
                yield here
            finally:
                await here.kill_loads()
    finally:
        for app in apps.values():
            await app.stop(signal.SIGKILL)
