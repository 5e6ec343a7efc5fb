"""What a protocol is told of a TLS connection's end, which tells a whole response from a part of one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import pytest

from bgproxy.model import ListenerTls, UpstreamTls
from bgproxy.tls import flow
from bgproxy.tls.client import ClientContexts
from bgproxy.tls.server import ServerContexts
from tests.support.certificates import Authority

from .ends import End

PIECE_BYTES = 7
SIZE_BYTES = 100_000  # several records, and less than uvloop keeps by itself


class Upstream:
    """A blocking server, whose socket a test can close in any way."""

    def __init__(self, authority: Authority) -> None:
        self.context = ServerContexts(ListenerTls((authority.issues("app.internal"),))).context
        self.listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    async def meets(self, client: ssl.SSLContext, port: int | None = None) -> tuple[End, ssl.SSLSocket]:
        loop = asyncio.get_running_loop()
        accepted = asyncio.create_task(asyncio.to_thread(self._accept))
        _, end = await loop.create_connection(
            End, "127.0.0.1", port or self.port, ssl=client, server_hostname="app.internal"
        )
        return end, await accepted

    def _accept(self) -> ssl.SSLSocket:
        plain, _ = self.listener.accept()
        tls = self.context.wrap_socket(plain, server_side=True)
        tls.settimeout(5)
        return tls


@pytest.fixture
def upstream(authority: Authority) -> Iterator[Upstream]:
    made = Upstream(authority)
    yield made
    made.listener.close()


@pytest.fixture
def client(authority: Authority) -> ssl.SSLContext:
    return ClientContexts().context(UpstreamTls(ca=authority.path))


async def test_an_end_that_was_announced_is_told_apart_from_one_that_was_not(
    upstream: Upstream, client: ssl.SSLContext
) -> None:
    """RFC 9112 section 9.8: without a close_notify, a response that ends with its connection is incomplete."""
    end, server = await upstream.meets(client)
    server.sendall(b"whole")
    await asyncio.to_thread(server.unwrap)
    server.close()
    assert await end.ends() is None
    assert (bytes(end.received), end.told) == (b"whole", ["close_notify", "lost"])

    end, server = await upstream.meets(client)
    server.sendall(b"part")
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    assert await end.ends() is None
    assert (bytes(end.received), end.told) == (b"part", ["lost"])


@pytest.mark.parametrize("announced", [True, False])
async def test_a_paused_connection_loses_nothing_when_its_peer_closes(
    upstream: Upstream, client: ssl.SSLContext, announced: bool
) -> None:
    end, server = await upstream.meets(client)
    flow.bound(end.transport)
    end.transport.pause_reading()
    response = b"x" * SIZE_BYTES
    server.sendall(response)
    if announced:
        server.settimeout(0.05)  # it does not wait for our close_notify, which cannot come
        with server, pytest.raises(TimeoutError):
            await asyncio.to_thread(server.unwrap)
    else:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    await has_come(end.transport)
    end.transport.resume_reading()
    await end.gets(response)
    await end.ends()
    assert end.told == (["close_notify", "lost"] if announced else ["lost"])


async def has_come(transport: asyncio.Transport) -> None:
    """Until the loop has seen what the peer sent, and its end if it looks for that."""
    async with asyncio.timeout(5):
        while not transport.is_closing() and not transport.get_read_buffer_size():  # type: ignore[attr-defined]
            await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_part_of_a_record_stops_nothing(upstream: Upstream, client: ssl.SSLContext) -> None:
    """It is more than the limit of one byte, and the protocol cannot take it away."""
    async with relaying_pieces(upstream.port) as port:
        end, server = await upstream.meets(client, port)
        flow.bound(end.transport)
        for size in (1, 20_000, 5):
            server.sendall(b"y" * size)
            await end.gets(b"y" * size)
        end.transport.abort()
        await end.ends()
        server.close()


@contextlib.asynccontextmanager
async def relaying_pieces(port: int) -> AsyncIterator[int]:
    """The port of a relay that sends on a few bytes at a time."""

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while piece := await reader.read(PIECE_BYTES):
                writer.write(piece)
                await writer.drain()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pour(reader, back), pour(there, writer))
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    await ended.wait()
    server.close()


async def test_a_protocol_is_paused_when_as_much_waits_as_on_a_plain_connection(
    upstream: Upstream, client: ssl.SSLContext
) -> None:
    end, server = await upstream.meets(client)
    flow.bound(end.transport)
    assert end.transport.get_write_buffer_limits() == (16 * 1024, flow.WRITE_BUFFER_BYTES)
    end.transport.abort()
    await end.ends()
    server.close()
