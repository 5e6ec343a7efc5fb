from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bgproxy.http1.head import ResponseHead
from bgproxy.proxy import limits
from tests.support.conversation import Conversation, conversation

Converse = Callable[..., Awaitable[Conversation]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def converse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Converse]:
    """Starts a conversation (its options are those of `conversation`) and ends it with the test."""
    monkeypatch.setattr(limits, "SWEEP_S", 0.01)  # timeouts may be short then
    monkeypatch.setattr(ResponseHead, "add_date", lambda head, date: None)
    numbers = itertools.count()
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Conversation:
            directory = tmp_path / str(next(numbers))
            directory.mkdir()
            return await stack.enter_async_context(conversation(directory, **options))

        yield start
