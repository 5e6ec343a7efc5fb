import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from .doubles import Handler, Serve


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[asyncio.Server] = []

    async def start(handler: Handler, host: str = "127.0.0.1") -> str:
        server = await asyncio.start_server(handler, host, 0, backlog=1024)
        servers.append(server)
        return f"{host}:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
