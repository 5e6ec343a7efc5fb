"""Connections of TCP listeners with TLS on either side, or a PROXY header: both ends are streams of asyncio."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bgproxy.model import Hold, ListenerTls, UpstreamTls
from bgproxy.proxy import proxy_protocol
from tests.proxy.conftest import Converse
from tests.proxy.streams import converse_over_tcp
from tests.support.certificates import Authority
from tests.support.conversation import Conversation
from tests.support.peers import PATIENCE_S

MUCH = b"0123456789abcdef" * 65536
PIECE = MUCH[: 100 * 1024]
# How HTTP/2 begins on either side (RFC 9113 section 3.4): the preface, and frames of settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
SETTINGS = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"


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

    @property
    def alpn(self) -> str | None:
        secured: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return secured.selected_alpn_protocol()


class Upstream:
    """Accepts with TLS, or without, on a port of its own."""

    def __init__(self, server: asyncio.Server, accepted: asyncio.Queue[End]) -> None:
        self.port = server.sockets[0].getsockname()[1]
        self._accepted = accepted

    async def accepts(self) -> End:
        async with asyncio.timeout(PATIENCE_S):
            return await self._accepted.get()

    def serves(self, talk: Conversation) -> None:
        """Takes the place of blue's first."""
        blue = talk.blue[0]
        slot, tag = blue.place
        blue.address, blue.place = f"127.0.0.1:{self.port}", (slot, tag + 1000)
        talk.publish(active=talk.pool("blue"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.issues("app")
    return authority


def listener_tls(authority: Authority, **changes: Any) -> dict[str, Any]:
    return {"tls": ListenerTls((authority.issues("front"),), **changes)}


def upstream_tls(authority: Authority) -> UpstreamTls:
    return UpstreamTls(ca=authority.path, server_name="app")


@asynccontextmanager
async def listening(authority: Authority | None, *alpn: str) -> AsyncIterator[Upstream]:
    accepted: asyncio.Queue[End] = asyncio.Queue()
    ends: list[End] = []
    context = None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = authority.issues("app")
        context.load_cert_chain(pair.cert, pair.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))

    def connected(reader: StreamReader, writer: StreamWriter) -> None:
        ends.append(End(reader, writer))
        accepted.put_nowait(ends[-1])

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield Upstream(server, accepted)
    finally:
        server.close()
        for end in ends:
            end.writer.transport.abort()


@asynccontextmanager
async def connected(talk: Conversation, authority: Authority | None, *alpn: str) -> AsyncIterator[End]:
    options: dict[str, Any] = {}
    if authority is not None:
        context = ssl.create_default_context(cafile=authority.path)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        options = {"ssl": context, "server_hostname": "front"}
    end = End(*await asyncio.open_connection("127.0.0.1", talk.port("public"), **options))
    try:
        yield end
    finally:
        end.writer.transport.abort()


# --- ALPN -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None), (("smtp",), None)],
)
async def test_an_upstream_is_offered_what_the_client_has_agreed_to(
    converse: Converse, authority: Authority, offered: tuple[str, ...], agreed: str | None
) -> None:
    listener = listener_tls(authority, alpn=("h2", "http/1.1"))
    talk = await converse_over_tcp(converse, listener=listener, upstream_tls=upstream_tls(authority))
    async with listening(authority, "http/1.1", "h2") as upstream:
        upstream.serves(talk)
        async with connected(talk, authority, *offered) as client:
            accepted = await upstream.accepts()
            assert (client.alpn, accepted.alpn) == (agreed, agreed)
            await client.sends(PREFACE)
            assert await accepted.gets(len(PREFACE)) == PREFACE
            await accepted.sends(SETTINGS)
            assert await client.gets(len(SETTINGS)) == SETTINGS


async def test_without_tls_of_the_client_nothing_is_offered(converse: Converse, authority: Authority) -> None:
    talk = await converse_over_tcp(converse, upstream_tls=upstream_tls(authority))
    async with listening(authority, "h2") as upstream:
        upstream.serves(talk)
        async with connected(talk, None) as client:
            accepted = await upstream.accepts()
            assert accepted.alpn is None
            await accepted.sends(b"220 ready\r\n")
            assert await client.gets(11) == b"220 ready\r\n"


# --- both ways, with TLS on either side or both --------------------------------------------------------


@asynccontextmanager
async def relayed(
    converse: Converse, authority: Authority, tls: str, **options: Any
) -> AsyncIterator[tuple[Conversation, dict[str, End]]]:
    """The ends by name, with TLS on the sides that `tls` names."""
    if "upstream" in tls:
        options["upstream_tls"] = upstream_tls(authority)
    listener = listener_tls(authority) if "client" in tls else {}
    talk = await converse_over_tcp(converse, listener=listener, **options)
    async with listening(authority if "upstream" in tls else None) as upstream:
        upstream.serves(talk)
        async with connected(talk, authority if "client" in tls else None) as client:
            accepted = await upstream.accepts()
            await talk.until(lambda: talk.tunnels, "it is relayed")
            yield talk, {"client": client, "upstream": accepted}


TLS = pytest.mark.parametrize("tls", ["client", "upstream", "client and upstream"])
SIDE = pytest.mark.parametrize(("side", "other"), [("client", "upstream"), ("upstream", "client")])


@TLS
@SIDE
async def test_all_arrives_before_the_end(
    converse: Converse, authority: Authority, tls: str, side: str, other: str
) -> None:
    async with relayed(converse, authority, tls) as (talk, ends):
        ends[side].writer.write(MUCH)
        ends[side].writer.close()
        assert await ends[other].gets_rest() == MUCH
        ends[other].writer.close()
        await talk.until(lambda: not talk.tunnels, "the connection is over")


@TLS
@SIDE
async def test_a_slow_side_gets_all_of_what_was_sent_before_the_other_one_closed(
    converse: Converse, authority: Authority, tls: str, side: str, other: str
) -> None:
    async with relayed(converse, authority, tls) as (talk, ends):
        held_back: Any = ends[other].reader._transport  # type: ignore[attr-defined] # of its kind
        held_back.pause_reading()
        (tunnel,) = talk.plane.tunnels
        counter, sent = {"client": "_received_bytes", "upstream": "_sent_bytes"}[side], 0
        while await talk.until_stuck(lambda: getattr(tunnel, counter)) == sent:
            ends[side].writer.write(PIECE)
            sent += len(PIECE)
        ends[side].writer.write(PIECE)  # may be on its way already when the proxy has stopped to read
        ends[side].writer.close()
        await talk.sweeps()
        held_back.resume_reading()
        assert len(await ends[other].gets_rest()) == sent + len(PIECE)


@TLS
@SIDE
async def test_an_abort_is_an_abort(
    converse: Converse, authority: Authority, tls: str, side: str, other: str
) -> None:
    async with relayed(converse, authority, tls) as (talk, ends):
        sock = ends[side].writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ends[side].writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await ends[other].gets_rest()
        assert talk.tunnels == 0


async def test_a_client_that_leaves_at_once_has_still_sent_what_it_sent(
    converse: Converse, authority: Authority
) -> None:
    """As programs do that send a log line and exit; the upstream is connected to only afterwards."""
    hold = Hold(1, inf, 10, 1 << 20)
    talk = await converse_over_tcp(converse, listener=listener_tls(authority), hold=hold)
    context = ssl.create_default_context(cafile=authority.path)

    def send() -> None:
        sock = socket.create_connection(("127.0.0.1", talk.port("public")), PATIENCE_S)
        with context.wrap_socket(sock, server_hostname="front") as secured:
            secured.sendall(PIECE)
            secured.shutdown(socket.SHUT_RDWR)

    await asyncio.to_thread(send)
    await talk.until(lambda: talk.worker.parked, "it is parked")
    await talk.sweeps()
    talk.publish(hold=None)
    talk.wake()
    assert await (await talk.blue[0].accepts()).gets_bytes(len(PIECE)) == PIECE


async def test_with_tls_nobody_to_serve_it_is_no_clean_end(converse: Converse, authority: Authority) -> None:
    talk = await converse_over_tcp(converse, listener=listener_tls(authority))
    talk.blue[0].refuses()
    async with connected(talk, authority) as client:
        with pytest.raises(ConnectionResetError):
            await client.gets_rest()


# --- PROXY ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
async def test_an_upstream_is_told_the_client_that_a_header_names(converse: Converse, version: int) -> None:
    talk = await converse_over_tcp(converse, listener={"proxy_protocol": True}, send_proxy=version)
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
    client = await talk.client()
    await client.sends(header + b"hello")
    upstream = await talk.blue[0].accepts()
    told = proxy_protocol.build(version, (b"192.0.2.7", 4711), (b"198.51.100.1", 443))
    await upstream.gets(told + b"hello")
    await upstream.sends(b"hello yourself")
    await client.gets(b"hello yourself")


async def test_an_upstream_is_told_where_the_client_really_is(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, send_proxy=1)
    client = await talk.client()
    port = client.socket.getsockname()[1]
    upstream = await talk.blue[0].accepts()
    await upstream.gets(b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (port, talk.port("public")))


async def test_what_an_upstream_says_with_tls_and_a_header_before_it_is_asked_arrives(
    converse: Converse, authority: Authority, tmp_path: Path
) -> None:
    """The greeting of a server is in one segment with the end of its handshake."""
    tls = upstream_tls(authority)
    talk = await converse_over_tcp(converse, upstream_tls=tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issues("app")
    context.load_cert_chain(pair.cert, pair.key)

    def greet(_: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    Upstream(server, asyncio.Queue()).serves(talk)
    async with connected(talk, None) as client:
        assert await client.gets_rest() == b"220 ready\r\n"
    server.close()


async def test_limits_of_a_listener_count_what_is_relayed(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, listener={"connections": 1})
    client = await talk.client()
    await talk.until(lambda: talk.tunnels, "it is relayed")
    await (await talk.client(accepted=False)).gets_end()
    client.aborts()
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")
    await talk.client()
    await talk.until(lambda: talk.tunnels, "the next one is relayed")
