import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect

from benchmarks import websocket_load
from benchmarks.websocket_echo import Echo
from benchmarks.wrk import LoadError


@asynccontextmanager
async def served(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Liar(Echo):
    """Sends something else back."""

    def data_received(self, data: bytes) -> None:
        if self._is_upgraded:
            self._transport.write(b"\x82\x40" + bytes(64))
        else:
            super().data_received(data)


class Refuser(Echo):
    def data_received(self, data: bytes) -> None:  # whatever it is
        self._transport.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


async def test_the_echo_is_one_for_a_client_that_knows_the_protocol() -> None:
    async with served(Echo) as port, connect(f"ws://127.0.0.1:{port}/chat", compression=None) as client:
        for message in (b"", b"once", b"x" * 125):
            await client.send(message)
            assert await client.recv() == message


async def test_the_echo_answers_health_checks_on_a_connection_that_is_kept() -> None:
    async with served(Echo) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await writer.wait_closed()


async def test_messages_that_came_back_are_counted_and_timed() -> None:
    async with served(Echo) as port:
        load = await websocket_load.measure(port, connections=3, seconds=0.1)
    assert load.requests > 3
    assert load.failures == 0
    assert 0 < load.p50_s <= load.p99_s < load.elapsed_s


async def test_an_answer_that_is_not_the_message_is_a_failure_and_is_told_once() -> None:
    async with served(Liar) as port:
        load = await websocket_load.measure(port, connections=3, seconds=0.1)
    assert (load.requests, load.failures) == (0, 3)


async def test_a_proxy_that_does_not_upgrade_is_an_error() -> None:
    async with served(Refuser) as port:
        with pytest.raises(LoadError, match="not opened"):
            await websocket_load.measure(port, connections=1, seconds=0.1)
