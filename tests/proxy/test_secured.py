"""What a protocol is told of a connection with TLS, and how much of it is there at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bgproxy.model import ListenerTls, UpstreamTls
from bgproxy.proxy.portions import PORTION_BYTES
from bgproxy.proxy.secured import READ_BYTES, WRITE_BUFFER_BYTES, WRITE_BYTES, Secured, narrow
from bgproxy.tls.client import ClientContexts
from bgproxy.tls.server import ServerContexts
from tests.support.certificates import Authority
from tests.tls.ends import End

PIECE_BYTES = 7
SIZE_BYTES = 40_000  # several records, and less than is read at once


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
        accepted = asyncio.create_task(asyncio.to_thread(self.accept))
        _, end = await loop.create_connection(
            End, "127.0.0.1", port or self.port, ssl=client, server_hostname="app.internal"
        )
        return end, await accepted

    def accept(self) -> ssl.SSLSocket:
        plain, _ = self.listener.accept()
        tls = self.context.wrap_socket(plain, server_side=True)
        tls.settimeout(5)
        return tls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def upstream(authority: Authority) -> Iterator[Upstream]:
    made = Upstream(authority)
    yield made
    made.listener.close()


def secured(end: End) -> Secured:
    transport = Secured(end.transport)
    transport.set_protocol(end)
    return transport


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
    tls, end.transport = end.transport, secured(end)
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
    await has_come(tls)
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
        end.transport = secured(end)
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


async def test_a_protocol_is_paused_when_little_waits(upstream: Upstream, client: ssl.SSLContext) -> None:
    end, server = await upstream.meets(client)
    end.transport = secured(end)
    limits = end.transport.get_write_buffer_limits()
    end.transport.abort()
    await end.ends()
    server.close()
    assert limits == (WRITE_BUFFER_BYTES // 4, WRITE_BUFFER_BYTES)


async def test_what_is_written_at_once_is_encrypted_in_parts(
    upstream: Upstream, client: ssl.SSLContext
) -> None:
    encrypted = []

    class Recording(ssl.SSLObject):
        def write(self, data: Any) -> int:
            encrypted.append(len(data))
            return super().write(data)

    client.sslobject_class = Recording
    end, server = await upstream.meets(client)
    end.transport = secured(end)
    body = bytes(range(256)) * 1000
    end.transport.write(body)
    assert await asyncio.to_thread(received_whole, server, len(body)) == body
    end.transport.abort()
    await end.ends()
    server.close()
    assert encrypted == [WRITE_BYTES] * 7 + [len(body) - 7 * WRITE_BYTES]


def received_whole(server: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := server.recv(size)):
        data += more
    return data


async def test_what_comes_is_read_and_told_in_portions(upstream: Upstream, client: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    accepted = asyncio.create_task(asyncio.to_thread(upstream.accept))
    plain, handshaking = await loop.create_connection(End, "127.0.0.1", upstream.port)
    tls = await loop.start_tls(plain, handshaking, client, server_hostname="app.internal")
    server = await accepted
    assert tls is not None
    narrow(plain)
    below = cast("asyncio.BufferedProtocol", plain.get_protocol())
    assert len(memoryview(below.get_buffer(1 << 20))) == READ_BYTES
    end = Portion()
    end.transport = Secured(tls)
    end.transport.set_protocol(end)
    body = bytes(range(256)) * 4096
    sending = asyncio.create_task(asyncio.to_thread(server.sendall, body))
    await end.gets(body)
    await sending
    server.close()
    await end.ends()
    assert READ_BYTES // 2 < max(end.sizes) <= PORTION_BYTES


class Portion(End):
    """Writes down how much it is told at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        super().data_received(data)
