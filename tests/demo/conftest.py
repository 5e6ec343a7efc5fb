import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from .processes import AppProcess, Peer, started

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[Handler], Awaitable[int]]
Connect = Callable[[int], Awaitable[Peer]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What the demonstration runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AppProcess]:
    """An app in a process of its own, with a journal."""
    async with started(tmp_path / "journal") as process:
        yield process


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections to a port of this machine."""
    peers: list[Peer] = []

    async def open_one(port: int) -> Peer:
        peers.append(Peer(*await asyncio.open_connection("127.0.0.1", port)))
        return peers[-1]

    yield open_one
    for peer in peers:
        peer.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers that behave as a test wants."""
    servers: list[asyncio.Server] = []

    async def start(handler: Handler) -> int:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()
