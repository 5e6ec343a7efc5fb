"""Processes as operators see them: started, killed, drained, reloaded, replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import yaml

import bgproxy as package
from bgproxy.build import BUILD
from bgproxy.shared_memory import layout
from tests.support.running import PATIENCE_S, Running, bgproxy, complete, spawned, write


class Slow:
    """An upstream in the test's own process that answers a request when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answer.set()
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"GET /health"):
                    self.asked.set()
                    await self.answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()


def config_of(port: int) -> dict[str, Any]:
    pool = {"upstreams": [f"127.0.0.1:{port}"]}
    return {
        "services": {
            "web": {"pools": {"blue": pool, "green": pool}, "health": {"path": "/health", "interval": "1s"}}
        }
    }


@contextlib.asynccontextmanager
async def connect(proxy: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's connection to the public listener."""
    host, _, port = proxy.addresses["public"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readuntil(b"hello")


async def metric(proxy: Running, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"http://{proxy.admin}/metrics") as response:
        text = await response.text()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


async def test_a_connection_queued_at_a_killed_worker_is_served_by_its_successor(tmp_path: Path) -> None:
    async with Slow() as upstream:
        upstream.answer.set()
        async with bgproxy(tmp_path, {**config_of(upstream.port), "workers": 1}) as proxy:
            victim = (await proxy.status())["workers"][0]["pid"]
            os.kill(victim, signal.SIGSTOP)
            async with connect(proxy) as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                os.kill(victim, signal.SIGKILL)
                assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")


async def test_a_killed_worker_leaves_no_gauge_behind_and_no_counter_goes_back(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, {**config_of(upstream.port), "workers": 1}) as proxy:
        upstream.answer.set()
        async with connect(proxy) as (reader, writer):
            for _ in range(5):
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await read_answer(reader)
            upstream.answer.clear()
            upstream.asked.clear()
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await upstream.asked.wait()
            assert await metric(proxy, "bgproxy_requests_in_flight") == 1
            counted = await metric(proxy, "bgproxy_requests_total")
            assert counted == 5
            os.kill((await proxy.status())["workers"][0]["pid"], signal.SIGKILL)
            await proxy.until_logged("starting another")
            assert await metric(proxy, "bgproxy_requests_in_flight") == 0
            assert await metric(proxy, "bgproxy_requests_total") >= counted


async def test_sigterm_finishes_what_is_in_flight_and_exits_0(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        async with connect(proxy) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await upstream.asked.wait()
            proxy.process.send_signal(signal.SIGTERM)
            await proxy.until_logged("draining")
            await until_refused(proxy)
            upstream.answer.set()
            answer = await read_answer(reader)
            assert b"Connection: close" in answer
            assert await reader.read() == b""
            assert await proxy.stop() == 0


async def test_sigterm_gives_up_at_the_deadline(tmp_path: Path) -> None:
    async with Slow() as upstream:
        config = {**config_of(upstream.port), "shutdown": {"timeout": "300ms"}}
        async with bgproxy(tmp_path, config) as proxy, connect(proxy) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await upstream.asked.wait()
            assert await proxy.stop() == 0
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            upstream.answer.set()


async def test_a_kept_alive_client_gets_its_next_answer_from_the_draining_process(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        upstream.answer.set()
        async with connect(proxy) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"Connection: close" not in await read_answer(reader)
            proxy.process.send_signal(signal.SIGTERM)
            await until_refused(proxy)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"Connection: close" in await read_answer(reader)
            assert await proxy.stop() == 0


async def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        status = await proxy.status()
        pids = [status["controller"]["pid"], *(each["pid"] for each in status["workers"])]
        os.kill(proxy.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            while any(running(pid) for pid in pids):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("case", ["configuration", "port", "state"])
async def test_a_start_that_cannot_succeed_says_why_and_exits(tmp_path: Path, case: str) -> None:
    config = complete(tmp_path, config_of(1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        if case == "configuration":
            config["wokers"] = 2
            expected, words = 2, "did you mean `workers`"
        elif case == "port":
            port = taken.getsockname()[1]
            config["listeners"] = [{"name": "public", "bind": f"127.0.0.1:{port}"}]
            words = f"cannot listen on 127.0.0.1:{port} (listener public): another program listens there (`ss -ltnp`"
            expected = 3
        else:
            (tmp_path / "state.db").write_bytes(b"not a database" * 1000)
            expected, words = 4, str(tmp_path / "state.db")
        path = tmp_path / "bgproxy.yaml"
        path.write_text(yaml.safe_dump(config))
        async with spawned("-m", "bgproxy", "run", "-c", str(path), config=path) as proxy:
            assert await proxy.exited() == expected
            assert words in "\n".join(proxy.log)


async def test_an_upgrade_runs_the_program_that_is_on_disk_now(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copytree(
        Path(package.__file__).parent, program / "bgproxy", ignore=shutil.ignore_patterns("__pycache__")
    )
    async with Slow() as upstream:
        upstream.answer.set()
        path = write(tmp_path, config_of(upstream.port))
        arguments = ("-m", "bgproxy", "run", "-c", str(path))
        async with spawned(
            *arguments,
            config=path,
            cwd=program,
            environ={"PYTHONPATH": str(program), "PYTHONDONTWRITEBYTECODE": "1"},
        ) as proxy:
            await proxy.until_logged("ready: ")
            source = program / "bgproxy" / "__init__.py"
            good = source.read_text()
            async with connect(proxy) as (reader, writer):
                source.write_text("this is no Python")
                code, answer = await proxy.call("POST", "/admin/upgrade")
                assert code == 409
                assert "does not start" in answer["detail"]

                shared = program / "bgproxy" / "shared_memory" / "layout.py"
                same = shared.read_text()
                source.write_text(good)
                shared.write_text(
                    same.replace(
                        f"VERSION: Final = {layout.VERSION}", f"VERSION: Final = {layout.VERSION + 1}"
                    )
                )
                code, answer = await proxy.call("POST", "/admin/upgrade")
                assert code == 409
                assert "lays out the shared memory differently" in answer["detail"]

                shared.write_text(same)
                source.write_text(good.replace(package.__version__, "9.9.9"))
                proxy.log.clear()
                code, answer = await proxy.call("POST", "/admin/upgrade")
                assert (code, answer["pid"]) == (202, proxy.pid)
                await proxy.until_logged("ready: ")
                assert (await proxy.status())["version"] == "9.9.9"
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await read_answer(reader)
                assert await proxy.stop() == 0


async def test_sigusr2_upgrades_too(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        before = (await proxy.status())["controller"]["pid"]
        proxy.log.clear()
        proxy.process.send_signal(signal.SIGUSR2)
        await proxy.until_logged("ready: ")
        assert (await proxy.status())["controller"]["pid"] != before
        await proxy.until_logged(f"upgrade: version {BUILD} has taken over")


async def test_the_log_begins_with_what_is_started(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        assert f"start: version {BUILD}" in proxy.log[0]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM])
async def test_a_signal_in_the_moment_of_an_upgrade_waits_for_the_successor(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A program that has just replaced another has no handlers yet, and every one of these would end it."""
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        upstream.answer.set()
        proxy.log.clear()
        os.kill(proxy.pid, signal.SIGUSR2)
        await until_replacing(proxy)
        os.kill(proxy.pid, number)
        if number is signal.SIGTERM:
            assert await proxy.exited() == 0
            assert any("drained" in line for line in proxy.log)
            return
        await proxy.until_logged("ready: ")
        async with connect(proxy) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await read_answer(reader)


async def test_a_process_that_ends_is_not_upgraded(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        async with connect(proxy) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await upstream.asked.wait()
            proxy.process.send_signal(signal.SIGTERM)
            await proxy.until_logged("draining")
            proxy.process.send_signal(signal.SIGUSR2)
            await proxy.until_logged("bgproxy is ending")
            upstream.answer.set()
            await read_answer(reader)
        assert await proxy.exited() == 0


async def test_a_controller_that_does_not_listen_leaves_the_supervisor_alive(tmp_path: Path) -> None:
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        upstream.answer.set()
        controller = (await proxy.status())["controller"]["pid"]
        os.kill(controller, signal.SIGSTOP)
        async with asyncio.timeout(PATIENCE_S):
            while not any("does not listen" in line for line in proxy.log):
                os.kill(proxy.pid, signal.SIGHUP)
                await asyncio.sleep(0.001)
        os.kill(controller, signal.SIGCONT)
        await proxy.until_logged("nothing has changed")
        async with connect(proxy) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await read_answer(reader)
        assert await proxy.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
async def test_a_signal_in_the_moment_of_a_controllers_death_does_no_harm(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Its end of the control socket is closed a moment before its exit can be seen."""
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        for _ in range(3):
            controller = (await proxy.status())["controller"]["pid"]
            proxy.log.clear()
            os.kill(controller, signal.SIGKILL)
            for _ in range(100):
                os.kill(proxy.pid, number)
            await proxy.until_logged("took over")
        assert await proxy.stop() == 0, "\n".join(proxy.log[-30:])


async def test_a_connection_accepted_by_a_worker_that_is_being_replaced_is_served(tmp_path: Path) -> None:
    """Connections that are as new as can be, while there are always workers that have none besides."""
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        upstream.answer.set()
        over = asyncio.Event()
        clients = [asyncio.create_task(ask_anew(proxy, over)) for _ in range(8)]
        config = yaml.safe_load(proxy.config_path.read_text())
        for workers in (3, 2) * 6:
            config["workers"] = workers
            proxy.config_path.write_text(yaml.safe_dump(config))
            code, _ = await proxy.call("POST", "/admin/reload")
            assert code == 200
            await until_serving(proxy, workers)
        over.set()
        assert sum(await asyncio.gather(*clients)) > 100


async def test_a_second_instance_on_the_same_port_is_refused(tmp_path: Path) -> None:
    """SO_REUSEPORT would otherwise give it half of the traffic without a word."""
    async with Slow() as upstream, bgproxy(tmp_path, config_of(upstream.port)) as proxy:
        other = tmp_path / "other"
        other.mkdir()
        config = complete(other, config_of(upstream.port))
        config["listeners"] = [{"name": "public", "bind": proxy.addresses["public"]}]
        path = other / "bgproxy.yaml"
        path.write_text(yaml.safe_dump(config))
        async with spawned("-m", "bgproxy", "run", "-c", str(path), config=path) as second:
            assert await second.exited() == 3


async def ask_anew(proxy: Running, over: asyncio.Event) -> int:
    """Asks on one new connection after the other until it is over; how often it was answered."""
    answered = 0
    while not over.is_set():
        async with connect(proxy) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await read_answer(reader)
        answered += 1
    return answered


async def until_serving(proxy: Running, workers: int) -> None:
    """Returns when a crew of this size serves alone."""
    async with asyncio.timeout(PATIENCE_S):
        while [each["state"] for each in (await proxy.status())["workers"]] != ["serving"] * workers:
            await asyncio.sleep(0.02)


async def until_replacing(proxy: Running) -> None:
    """Returns when the process has become another program, which cannot have done much yet."""
    async with asyncio.timeout(PATIENCE_S):
        while b"--resume" not in Path(f"/proc/{proxy.pid}/cmdline").read_bytes():
            await asyncio.sleep(0.001)


async def until_refused(proxy: Running) -> None:
    """Returns when nobody accepts at the public listener any more."""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            while True:
                async with connect(proxy):
                    await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
