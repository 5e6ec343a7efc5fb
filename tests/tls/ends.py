"""Both ends of a TLS connection on uvloop, as protocols that write down what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

PATIENCE_S = 5.0


class End(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.told: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._news.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._news.set()

    def eof_received(self) -> None:
        self.told.append("close_notify")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        if not self.lost.done():
            self.lost.set_result(exc)
        self._news.set()

    # What a test asks

    async def gets(self, data: bytes) -> None:
        await self._until(lambda: len(self.received) >= len(data) or self.lost.done())
        assert bytes(self.received[: len(data)]) == data, self.told
        del self.received[: len(data)]

    async def ends(self) -> Exception | None:
        async with asyncio.timeout(PATIENCE_S):
            return await self.lost

    async def made(self) -> None:
        await self._until(lambda: self.is_made)

    @property
    def is_made(self) -> bool:
        return hasattr(self, "transport")

    @property
    def tls(self) -> ssl.SSLObject:
        return cast("ssl.SSLObject", self.transport.get_extra_info("ssl_object"))

    @property
    def peer_names(self) -> list[str]:
        return [name for _, name in self.transport.get_extra_info("peercert")["subjectAltName"]]

    async def _until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                self._news.clear()
                await self._news.wait()


class Listening:
    """Accepts on a free port; answers nothing by itself."""

    def __init__(self) -> None:
        self.ends: list[End] = []
        self.port = 0

    def accept(self) -> End:
        end = End()
        self.ends.append(end)
        return end

    async def connects(self, context: ssl.SSLContext, name: str = "", **options: Any) -> End:
        """The client's end; `name` is what it asks for and, if its context checks that, expects."""
        loop = asyncio.get_running_loop()
        _, end = await loop.create_connection(
            End, "127.0.0.1", self.port, ssl=context, server_hostname=name, **options
        )
        return end

    async def pair(self, context: ssl.SSLContext, name: str = "") -> tuple[End, End]:
        """The client's end and the server's."""
        client = await self.connects(context, name)
        server = self.ends[-1]
        await server.made()
        return client, server


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[Listening]:
    accepting = Listening()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(accepting.accept, "127.0.0.1", 0, ssl=context)
    accepting.port = server.sockets[0].getsockname()[1]
    try:
        yield accepting
    finally:
        gone = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0)  # uvloop waits for nothing if it is asked once it is closed
        server.close()
        for end in accepting.ends:
            if end.is_made:
                end.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            await gone  # with those whose handshake has failed


def trusting(path: str, *, any_name: bool = True) -> ssl.SSLContext:
    """A client's context, which by default looks at the authority and not at the name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = not any_name
    context.load_verify_locations(path)
    return context
