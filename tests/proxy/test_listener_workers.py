"""Limits of a listener in a running bgproxy, whose workers keep them together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import PATIENCE_S, Running, bgproxy

POOLS = {name: {"upstreams": ["127.0.0.1:1"]} for name in ("blue", "green")}
TURNED_AWAY = b"too many connections"


class Client:
    """A connection that stays. Nobody is healthy, so whoever is let in gets a 503 of another kind."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def connects(cls, proxy: Running) -> Client:
        host, _, port = proxy.addresses["public"].rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def is_let_in(self) -> bool:
        self.writer.write(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return TURNED_AWAY not in await self._reader.readexactly(length)


@pytest.mark.parametrize("limits", [{"connections": 3}, {"connections_per_client": 3}])
async def test_all_workers_keep_one_limit(tmp_path: Path, limits: dict[str, Any]) -> None:
    config = {
        "workers": 3,
        "listeners": [{"name": "public", "bind": "127.0.0.1:0", "limits": limits}],
        "services": {"web": {"pools": POOLS, "health": {"kind": "tcp"}}},
    }
    async with bgproxy(tmp_path, config) as proxy:
        clients: list[Client] = []
        let_in = 0
        for _ in range(12):
            clients.append(await Client.connects(proxy))
            let_in += await clients[-1].is_let_in()
        assert let_in == 3
        for client in clients:
            client.writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while any(worker["connections"] for worker in (await proxy.status())["workers"]):
                await asyncio.sleep(0.02)
        again = await Client.connects(proxy)
        assert await again.is_let_in()
        again.writer.close()
