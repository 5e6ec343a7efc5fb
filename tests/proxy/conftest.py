from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bgproxy.http1.head import ResponseHead
from bgproxy.proxy import limits
from tests.support.build import COMPILED
from tests.support.conversation import Conversation, conversation
from tests.support.peers import Peer

Converse = Callable[..., Awaitable[Conversation]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def converse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Converse]:
    """Starts a conversation (its options are those of `conversation`) and ends it with the test."""
    monkeypatch.setattr(limits, "SWEEP_S", 0.01)  # timeouts may be short then
    if COMPILED:
        monkeypatch.setattr(Peer, "_reads", _reads_undated)
    else:
        monkeypatch.setattr(ResponseHead, "add_date", lambda head, date: None)
    numbers = itertools.count()
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Conversation:
            directory = tmp_path / str(next(numbers))
            directory.mkdir()
            return await stack.enter_async_context(conversation(directory, **options))

        yield start


# Private

_DATE = re.compile(rb"(?<=\r\n)Date: [^\r]{29}\r\n")


async def _reads_undated(peer: Peer) -> bytes:
    """In place of `Peer._reads`, where nobody can be kept from adding the date."""
    data = await asyncio.get_running_loop().sock_recv(peer.socket, 1 << 20)
    peer._received += _DATE.sub(b"", data)
    return data
