"""The access log of a whole bgproxy: every request has a line, through rotations, reloads and the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.running import PATIENCE_S, Running, bgproxy, complete, spawned

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """The address of one that answers everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"127.0.0.1:{port}"
    server.close()


def config_of(upstream: str, **log: Any) -> dict[str, Any]:
    pools = {name: {"version": f"v-{name}", "upstreams": [upstream]} for name in ("blue", "green")}
    return {
        "access_log": {"path": "access.log", **log},
        "services": {"web": {"pools": pools, "health": {"path": "/health", "interval": "1s"}}},
    }


async def connect(proxy: Running) -> Client:
    host, _, port = proxy.addresses["public"].rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ask(client: Client, target: str) -> None:
    reader, writer = client
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(2)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def until(path: Path, count: int) -> list[dict[str, Any]]:
    """The lines of the file, as soon as there are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while len(lines(path)) < count:
            await asyncio.sleep(0.02)
    return lines(path)


async def workers(proxy: Running) -> list[int]:
    return [each["pid"] for each in (await proxy.status())["workers"]]


async def test_every_request_has_a_line_at_the_latest_when_bgproxy_has_ended(
    tmp_path: Path, upstream: str
) -> None:
    async with bgproxy(tmp_path, config_of(upstream)) as proxy:
        clients = [await connect(proxy) for _ in range(8)]
        for number, client in enumerate(clients * 5):
            await ask(client, f"/{number}")
        for _, writer in clients:
            writer.close()
        assert await proxy.stop() == 0
    found = lines(tmp_path / "access.log")
    assert sorted(line["target"] for line in found) == sorted(f"/{number}" for number in range(40))
    for line in found:
        told = {key: line[key] for key in ("status", "outcome", "service", "pool", "version", "upstream")}
        assert told == {
            "status": 200,
            "outcome": "ok",
            "service": "web",
            "pool": "blue",
            "version": "v-blue",
            "upstream": upstream,
        }
        assert (line["client"], line["host"], line["user_agent"]) == ("127.0.0.1", "a.example", "test")
        assert line["attempts"] == 1
        assert line["response_bytes"] > len("ok")
        assert 0 < line["duration_ms"] < 10_000


async def test_a_rotation_under_traffic_loses_no_line(tmp_path: Path, upstream: str) -> None:
    log = tmp_path / "access.log"
    async with bgproxy(tmp_path, config_of(upstream)) as proxy:
        over = False

        async def traffic(name: str) -> int:
            client = await connect(proxy)
            asked = 0
            while not over:
                await ask(client, f"/{name}/{asked}")
                asked += 1
            client[1].close()
            return asked

        clients = [asyncio.create_task(traffic(str(name))) for name in range(8)]
        rotated = []
        for number in range(3):
            await until(log, 1)
            rotated.append(log.rename(tmp_path / f"access.log.{number}"))
            proxy.process.send_signal(signal.SIGUSR1)
        await until(log, 1)
        over = True
        asked = await asyncio.gather(*clients)
        assert await proxy.stop() == 0
    found = [line["target"] for path in (*rotated, log) for line in lines(path)]
    assert sorted(found) == sorted(f"/{name}/{n}" for name, count in enumerate(asked) for n in range(count))


async def test_a_worker_that_drains_opens_the_file_again_too(tmp_path: Path, upstream: str) -> None:
    log = tmp_path / "access.log"
    async with bgproxy(tmp_path, {**config_of(upstream), "workers": 1}) as proxy:
        client = await connect(proxy)
        await ask(client, "/before")
        config = yaml.safe_load(proxy.config_path.read_text())
        proxy.config_path.write_text(yaml.safe_dump({**config, "workers": 2}))
        assert (await proxy.call("POST", "/admin/reload"))[0] == 200
        async with asyncio.timeout(PATIENCE_S):
            while [each["state"] for each in (await proxy.status())["workers"]].count("serving") < 2:
                await asyncio.sleep(0.02)
        await until(log, 1)
        log.rename(tmp_path / "access.log.1")
        proxy.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(PATIENCE_S):
            while not log.exists():
                await asyncio.sleep(0.01)
        await ask(client, "/after")  # on its connection to the old worker
        await until(log, 1)
        client[1].close()
    assert [line["target"] for line in lines(tmp_path / "access.log.1")] == ["/before"]
    assert [line["target"] for line in lines(log)] == ["/after"]


@pytest.mark.parametrize("logs", [True, False])
async def test_the_signal_to_rotate_ends_no_process_whoever_gets_it(
    tmp_path: Path, upstream: str, logs: bool
) -> None:
    """`systemctl kill -s USR1` sends it to all processes of the service."""
    config = config_of(upstream)
    if not logs:
        del config["access_log"]
    async with bgproxy(tmp_path, config) as proxy:
        before = (await proxy.status())["controller"]["pid"], await workers(proxy)
        for pid in (proxy.pid, before[0], *before[1]):
            os.kill(pid, signal.SIGUSR1)
        client = await connect(proxy)
        await ask(client, "/")
        client[1].close()
        assert ((await proxy.status())["controller"]["pid"], await workers(proxy)) == before
        assert await proxy.stop() == 0
        assert not [line for line in proxy.log if "has ended with" in line]


async def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path, upstream: str) -> None:
    path = tmp_path / "bgproxy.yaml"
    path.write_text(yaml.safe_dump(complete(tmp_path, config_of(upstream, path="no/such/access.log"))))
    async with spawned("-m", "bgproxy", "run", "-c", str(path), config=path) as proxy:
        assert await proxy.exited() == 3
        said = "\n".join(proxy.log)
        assert f"cannot write {tmp_path}/no/such/access.log" in said
        assert "create it" in said


async def test_a_reload_to_a_log_that_cannot_be_written_is_refused(tmp_path: Path, upstream: str) -> None:
    async with bgproxy(tmp_path, config_of(upstream)) as proxy:
        before = await workers(proxy)
        proxy.config_path.write_text(
            yaml.safe_dump(complete(tmp_path, config_of(upstream, path="no/such/access.log")))
        )
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code >= 400
        assert "no/such/access.log" in answer["detail"]
        assert await workers(proxy) == before
        client = await connect(proxy)
        await ask(client, "/still")
        client[1].close()
        await until(tmp_path / "access.log", 1)


async def test_a_reload_moves_the_log(tmp_path: Path, upstream: str) -> None:
    async with bgproxy(tmp_path, config_of(upstream)) as proxy:
        proxy.config_path.write_text(
            yaml.safe_dump(complete(tmp_path, config_of(upstream, path="other.log")))
        )
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code == 200, answer
        async with asyncio.timeout(PATIENCE_S):
            while not lines(tmp_path / "other.log"):
                client = await connect(proxy)
                await ask(client, "/")
                client[1].close()
                await asyncio.sleep(0.05)
