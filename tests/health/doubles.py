"""What the tests probe, and what they wait with."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


T = TypeVar("T")


class Told(asyncio.Queue[T]):
    """What a callback was told, in order. Waiting for what never comes fails the test."""

    async def get(self) -> T:
        async with asyncio.timeout(10):
            return await super().get()


class Serve(Protocol):
    """Starts a server on a free port and gives its address."""

    async def __call__(self, handler: Handler, host: str = "127.0.0.1") -> str: ...


class Answering:
    """A server that answers every request head with the same bytes, and closes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # a TCP check connects and leaves
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            writer.write(self.answer)
        writer.close()
