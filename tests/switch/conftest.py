from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from .stage import Stage, stage


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    """One service, one upstream in each pool, all healthy."""
    async with stage() as here:
        yield here


@pytest.fixture
async def wide() -> AsyncIterator[Stage]:
    """One service, two upstreams in each pool, all healthy."""
    async with stage(upstreams=2) as here:
        yield here


@pytest.fixture
async def shop() -> AsyncIterator[Stage]:
    """Two services, which are a group as well."""
    async with stage(("web", "api")) as here:
        yield here
