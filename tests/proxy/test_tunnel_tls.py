"""Tunnels of which one side or both speak TLS: both ends are streams of asyncio."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import pytest
import trustme

from bgproxy.proxy.tunnel import Tunnel
from bgproxy.proxy.upstream import UpstreamConnection
from tests.proxy.conftest import Converse
from tests.proxy.doors import Door
from tests.support.conversation import Conversation
from tests.support.peers import PATIENCE_S

TOLD = b"\x88\x02\x03\xe9"  # 1001
ANSWER = {"client": b"\x88\x82\0\0\0\0\x03\xe9", "upstream": TOLD}
MUCH = b"0123456789abcdef" * 65536


class End(NamedTuple):
    reader: StreamReader
    writer: StreamWriter

    async def sends(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gets(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def gets_rest(self) -> bytes:
        """All that comes before a clean end."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


class Wire(NamedTuple):
    """The two ends of a tunnel, by name, and the conversation that it is part of."""

    talk: Conversation
    ends: dict[str, End]

    def of(self, side: str) -> tuple[End, End]:
        return self.ends[side], self.ends["upstream" if side == "client" else "client"]


class Nobody:
    """Has a connection to an upstream for as long as it takes to make a tunnel of it."""

    def upstream_connected(self, connection: UpstreamConnection) -> None: ...
    def connect_failed(self) -> None: ...
    def upstream_data(self, data: bytes) -> None: ...
    def upstream_eof(self) -> None: ...
    def upstream_gone(self, error: Exception | None) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...


class Certificates(NamedTuple):
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("app").configure_cert(server)
    authority.configure_trust(client)
    return Certificates(server, client)


@asynccontextmanager
async def accepting(
    factory: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, int]]:
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


@asynccontextmanager
async def tunnel(
    talk: Conversation, certificates: Certificates, tls: str, *, websocket: bool = False
) -> AsyncIterator[Wire]:
    """A tunnel that exists already, with TLS on the sides that `tls` names."""
    accepted: asyncio.Queue[End] = asyncio.Queue()

    def stream() -> asyncio.Protocol:
        reader = StreamReader()
        return asyncio.StreamReaderProtocol(reader, lambda *end: accepted.put_nowait(End(*end)))

    live = talk.plane.table.services["web"]
    upstream = live.active.upstreams[0]
    connection = UpstreamConnection(upstream, Nobody(), talk.plane.now)
    accept = talk._listeners["public"]._connection()
    connected = cast("Callable[[], asyncio.Protocol]", lambda: connection)
    for_client: dict[str, Any] = {}
    for_upstream: ssl.SSLContext | None = None
    if "client" in tls:
        accept = partial(Door, certificates.server, accept)
        for_client = {"ssl": certificates.client, "server_hostname": "app"}
    if "upstream" in tls:
        connected = partial(Door, certificates.client, connected, "app")
        for_upstream = certificates.server
    async with accepting(accept) as front, accepting(stream, for_upstream) as back:
        await asyncio.get_running_loop().create_connection(connected, *back)
        ends = {"client": End(*await asyncio.open_connection(*front, **for_client))}
        ends["upstream"] = await accepted.get()
        await talk.until(lambda: hasattr(connection, "transport"), "the upstream is connected")
        await talk.until(lambda: talk.plane.downstreams, "the client is accepted")
        downstream = talk.downstream
        Tunnel(downstream, connection, live, live.active.name, upstream, websocket=websocket).begin(b"", b"")
        try:
            yield Wire(talk, ends)
        finally:
            for end in ends.values():
                end.writer.transport.abort()


@asynccontextmanager
async def websocket_whose_time_is_up(
    talk: Conversation, certificates: Certificates, tls: str
) -> AsyncIterator[Wire]:
    async with tunnel(talk, certificates, tls, websocket=True) as wire:
        talk.switch(drain_until=time.time())
        talk.wake()
        await talk.sweeps()
        assert await wire.ends["client"].gets(4) == TOLD
        assert (await wire.ends["upstream"].gets(8))[:2] == b"\x88\x82"
        yield wire


TLS = pytest.mark.parametrize("tls", ["client", "upstream", "client and upstream"])
SIDE = pytest.mark.parametrize("side", ["client", "upstream"])


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The loop complains of what it did not expect; in none of these tests does it."""
    with caplog.at_level(logging.WARNING):
        yield
    assert caplog.get_records("call") == []


@TLS
@SIDE
async def test_bytes_pass_both_ways(
    converse: Converse, certificates: Certificates, tls: str, side: str
) -> None:
    async with tunnel(await converse(), certificates, tls) as wire:
        one, other = wire.of(side)
        await one.sends(b"ping")
        assert await other.gets(4) == b"ping"
        await other.sends(b"pong")
        assert await one.gets(4) == b"pong"


@TLS
@SIDE
async def test_a_side_that_ends_is_heard_to_end_when_all_has_arrived(
    converse: Converse, certificates: Certificates, tls: str, side: str
) -> None:
    async with tunnel(await converse(), certificates, tls) as wire:
        one, other = wire.of(side)
        one.writer.write(MUCH)
        if one.writer.can_write_eof():
            one.writer.write_eof()
        else:
            one.writer.close()
        assert await other.gets_rest() == MUCH
        other.writer.close()
        await wire.talk.until(lambda: wire.talk.tunnels == 0, "the tunnel has ended")


@TLS
@SIDE
async def test_an_abort_is_an_abort_for_the_other(
    converse: Converse, certificates: Certificates, tls: str, side: str
) -> None:
    async with tunnel(await converse(), certificates, tls) as wire:
        one, other = wire.of(side)
        sock = one.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await other.gets_rest()
        assert wire.talk.tunnels == 0


@TLS
@SIDE
async def test_ends_that_vanish_at_once_leave_nothing_behind(
    converse: Converse, certificates: Certificates, tls: str, side: str
) -> None:
    async with tunnel(await converse(), certificates, tls) as wire:
        for end in wire.of(side):
            end.writer.transport.abort()
        await wire.talk.until(lambda: wire.talk.tunnels == 0, "the tunnel has ended")


@TLS
async def test_a_websocket_is_told_and_may_answer_before_it_is_closed(
    converse: Converse, certificates: Certificates, tls: str
) -> None:
    async with websocket_whose_time_is_up(await converse(), certificates, tls) as wire:
        for side, end in wire.ends.items():
            await end.sends(ANSWER[side])
        for end in wire.ends.values():
            assert await end.gets_rest() == b""
        assert wire.talk.tunnels == 0


@TLS
async def test_an_upstream_that_ends_as_it_answers_leaves_the_client_time_to_answer(
    converse: Converse, certificates: Certificates, tls: str
) -> None:
    async with websocket_whose_time_is_up(await converse(), certificates, tls) as wire:
        client, upstream = wire.of("client")
        await upstream.sends(ANSWER["upstream"])
        upstream.writer.close()
        await upstream.writer.wait_closed()
        await wire.talk.sweeps()
        assert wire.talk.tunnels == 1
        await client.sends(ANSWER["client"])
        assert await client.gets_rest() == b""
        assert wire.talk.tunnels == 0
