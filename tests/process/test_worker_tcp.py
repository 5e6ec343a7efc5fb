"""A TCP listener of a whole bgproxy: a cutover of a protocol that nobody here knows."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.running import PATIENCE_S, Running, bgproxy

# Measured: 3.1 KiB.
CONNECTION_BYTES = 5 * 1024

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def upstream(name: str) -> AsyncIterator[str]:
    """Says its name, and then the same as its client."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(f"220 {name}\n".encode())
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@asynccontextmanager
async def running(directory: Path, *, count: int = 2, **service: Any) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        pools = {
            name: {"upstreams": [await stack.enter_async_context(upstream(name))]}
            for name in ("blue", "green")
        }
        config = {
            "workers": count,
            "shutdown": {"timeout": "1s"},
            "listeners": [
                {"name": "mail", "bind": "127.0.0.1:0", "protocol": "tcp", "service": "smtp"},
                {
                    "name": "preview",
                    "bind": "127.0.0.1:0",
                    "protocol": "tcp",
                    "service": "smtp",
                    "preview": True,
                },
            ],
            "services": {"smtp": {"pools": pools, "health": {"kind": "tcp", "interval": "1s"}, **service}},
        }
        proxy = await stack.enter_async_context(bgproxy(directory, config))
        for pool in pools:
            await proxy.until_healthy("smtp", pool)
        yield proxy


@asynccontextmanager
async def clients(proxy: Running, count: int, listener: str = "mail") -> AsyncIterator[dict[Client, str]]:
    """New connections, each with who has answered it."""
    host, _, port = proxy.addresses[listener].rpartition(":")
    connected = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(count):
                reader, writer = await asyncio.open_connection(host, int(port))
                connected[reader, writer] = ""
                connected[reader, writer] = (await reader.readline()).decode().strip()
        yield connected
    finally:
        for _, writer in connected:
            writer.transport.abort()


async def echoes(client: Client) -> bool:
    reader, writer = client
    writer.write(b"NOOP\n")
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readline() == b"NOOP\n"


async def ends(client: Client) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        return await client[0].read() == b""


async def test_connections_move_with_a_switch_and_those_before_it_end_with_the_drain(tmp_path: Path) -> None:
    async with running(tmp_path, drain={"timeout": "1s"}) as proxy:
        async with clients(proxy, 1, "preview") as previews:
            assert {*previews.values()} == {"220 green"}
        async with clients(proxy, 8) as before:
            assert {*before.values()} == {"220 blue"}
            code, answer = await proxy.call("POST", "/admin/switch", {"service": "smtp"})
            assert code == 200, answer
            async with clients(proxy, 8) as after:
                assert {*after.values()} == {"220 green"}
                assert all([await echoes(client) for client in before])
                await proxy.until("drained", "blue of smtp")
                assert all([await ends(client) for client in before])
                assert all([await echoes(client) for client in after])
                assert (await proxy.service("smtp"))["pools"]["green"]["tunnels"] == 8


async def test_a_reload_leaves_connections_alone_and_a_shutdown_ends_them_in_time(tmp_path: Path) -> None:
    async with running(tmp_path) as proxy, clients(proxy, 1) as connected:
        (client,) = connected
        proxy.config_path.write_text(proxy.config_path.read_text().replace("workers: 2", "workers: 1"))
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code == 200, answer
        assert await echoes(client)
        assert await proxy.stop() == 0
        with contextlib.suppress(ConnectionResetError):
            assert await ends(client)


async def test_a_connection_that_does_nothing_costs_little(tmp_path: Path) -> None:
    """Both of its sockets, with all that a worker keeps for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with running(tmp_path, count=1) as proxy:
            (worker,) = [each["pid"] for each in (await proxy.status())["workers"]]
            async with clients(proxy, 100):  # what a worker needs for the first ones is not counted
                before_bytes = memory_bytes(worker)
                async with clients(proxy, 1000):
                    assert (memory_bytes(worker) - before_bytes) / 1000 < CONNECTION_BYTES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_bytes(pid: int) -> int:
    found = re.search(r"^Pss: +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
