from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import uvloop

from bgproxy.model import Admin, Config, Mirror

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


@pytest.fixture
async def mirroring() -> AsyncIterator[Server]:
    """One service, of which every fourth request is copied to the idle pool."""

    def change(config: Config) -> Config:
        web = config.services["web"]
        policy = replace(web.policy, mirror=Mirror(share=0.25))
        return replace(config, services={**config.services, "web": replace(web, policy=policy)})

    async with serving(change=change) as server:
        yield server
