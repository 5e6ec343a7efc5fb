from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from bgproxy.model import Admin

from .server import TOKENS, Server, serving


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def api() -> AsyncIterator[Server]:
    """One service, and nobody needs a token."""
    async with serving() as server:
        yield server


@pytest.fixture
async def shop() -> AsyncIterator[Server]:
    """Two services, which are the group `all`."""
    async with serving(("web", "api")) as server:
        yield server


@pytest.fixture
async def guarded() -> AsyncIterator[Server]:
    """One service, and a token for each role."""
    async with serving(admin=Admin(tokens=TOKENS)) as server:
        yield server
