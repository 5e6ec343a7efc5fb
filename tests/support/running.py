"""bgproxy as its users run it: the real processes, on free ports, in a directory of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

# Generous: reached only when something is broken.
PATIENCE_S = 20.0

_READY = re.compile(r"ready: (.*); admin on (\S+)")


@dataclass
class Running:
    """A started bgproxy. `addresses` maps listener names to host:port, `log` is what it wrote."""

    process: asyncio.subprocess.Process
    config_path: Path
    addresses: dict[str, str] = field(default_factory=dict)
    admin: str = ""
    log: list[str] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """One admin call on a connection of its own: (status, JSON)."""
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://{self.admin}{path}", json=body, headers=headers) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def status(self) -> dict[str, Any]:
        code, answer = await self.call("GET", "/admin/status")
        assert code == 200, answer
        return dict(answer)

    async def service(self, name: str = "web") -> dict[str, Any]:
        services = (await self.status())["services"]
        return next(each for each in services if each["service"] == name)

    async def until_logged(self, text: str) -> str:
        """The first line of the log that has `text` in it, as soon as it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for line in self.log:
                    if text in line:
                        return line
                self._news.clear()
                await self._news.wait()

    async def until(self, kind: str, text: str = "") -> dict[str, Any]:
        """The first event of `kind` whose text has `text` in it, kept or to come."""
        async with (
            asyncio.timeout(PATIENCE_S),
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.admin}/admin/events?after=1") as response,
        ):
            async for line in response.content:
                if line.startswith(b"data: "):
                    event: dict[str, Any] = yaml.safe_load(line[6:])
                    if event["kind"] == kind and text in event["text"]:
                        return event
        raise AssertionError(f"no event {kind!r} with {text!r}")

    async def until_healthy(self, service: str, pool: str) -> None:
        """Returns when every upstream of the pool is proven healthy."""
        async with asyncio.timeout(PATIENCE_S):
            while not (await self.service(service))["pools"][pool]["healthy"]:
                await asyncio.sleep(0.02)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.exited()

    async def exited(self) -> int:
        """Returns its exit code as soon as it has one and its log is complete."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            while self.process.stderr is not None and not self.process.stderr.at_eof():
                self._news.clear()
                await self._news.wait()
        return code

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self.log.append(line)
            found = _READY.search(line)
            if found:
                self.admin = found[2]
                places = [part.split(" on ") for part in found[1].split(", ")]
                self.addresses = dict(places)
            self._news.set()
        self._news.set()


@contextlib.asynccontextmanager
async def spawned(
    *arguments: str,
    config: Path,
    cwd: Path | None = None,
    environ: dict[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> AsyncIterator[Running]:
    """A Python process with these arguments in a group of its own, which is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
        cwd=cwd,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    running = Running(process, config)
    reader = asyncio.ensure_future(running.read())
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await reader


@contextlib.asynccontextmanager
async def bgproxy(directory: Path, config: dict[str, Any]) -> AsyncIterator[Running]:
    """Starts bgproxy with `config` (listeners, admin and state are filled in), and ends it afterwards."""
    path = write(directory, config)
    async with spawned("-m", "bgproxy", "run", "-c", str(path), config=path) as running:
        await running.until_logged("ready: ")
        yield running
        if running.process.returncode is None:
            await running.stop()


def write(directory: Path, config: dict[str, Any]) -> Path:
    """The configuration file of `bgproxy`."""
    path = directory / "bgproxy.yaml"
    path.write_text(yaml.safe_dump(complete(directory, config)))
    return path


def complete(directory: Path, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "workers": 2,
        "listeners": [
            {"name": "public", "bind": "127.0.0.1:0"},
            {"name": "preview", "bind": "127.0.0.1:0", "preview": True},
        ],
        "admin": {"bind": "127.0.0.1:0"},
        "state": {"path": str(directory / "state.db")},
        **config,
    }
