"""The `websockets` library on both sides of a proxy: each end judges what it gets, as in the Autobahn suite."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request, Response

from tests.proxy.conftest import Converse
from tests.support.conversation import Conversation
from tests.support.peers import PATIENCE_S
from tests.support.running import bgproxy

SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20)
CODES = (1000, 1001, 1008, 1011, 1013, 3000, 4999)


class Echo:
    """A server that sends back what it gets, fragment by fragment; `ends` has how each connection ended."""

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.connections: list[ServerConnection] = []
        self.ends: list[ConnectionClosed] = []

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            while True:
                await connection.send(connection.recv_streaming())
        except ConnectionClosed as end:
            self.ends.append(end)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[ClientConnection]:
        host, port = self.talk._sockets["public"].getsockname()
        options = {"compression": None, "max_size": None, "proxy": None, **options}
        async with asyncio.timeout(PATIENCE_S * 2):
            async with connect("ws://app/chat", host=host, port=port, **options) as client:
                yield client

    async def ended(self) -> ConnectionClosed:
        """How the only connection ended for the server."""
        await self.talk.until(lambda: self.ends, "the server's connection has ended")
        (end,) = self.ends
        return end


@asynccontextmanager
async def echo(converse: Converse, **options: Any) -> AsyncIterator[Echo]:
    talk = await converse()
    here = Echo(talk)
    options = {"compression": None, "max_size": None, **options}
    async with serve(here.handle, sock=talk.blue[0].socket, **options):
        yield here
    await talk.until(lambda: talk.tunnels == 0, "no tunnel is left")


async def closes(connection: Connection) -> ConnectionClosed:
    """How a connection ends for the side that waits for a message."""
    with pytest.raises(ConnectionClosed) as end:
        await connection.recv()
    return end.value


@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_messages_of_every_size_come_back(converse: Converse, kind: str) -> None:
    async with echo(converse) as server, server.client() as client:
        for size in SIZES:
            message = (
                "€" * (size // 3) + "a" * (size % 3)
                if kind == "text"
                else bytes(range(256)) * (size // 256 + 1)
            )
            message = message if isinstance(message, str) else message[:size]
            await client.send(message)
            assert await client.recv() == message


async def test_fragments_come_back_as_they_were_cut(converse: Converse) -> None:
    """With a ping between any two of them, which is answered at once."""
    fragments = ["", "a", "b" * 125, "c" * 126, "", "d" * 65535, "e" * 65536, "f" * 300_000]
    async with echo(converse) as server, server.client() as client:

        async def cut() -> AsyncIterator[str]:
            for fragment in fragments:
                yield fragment
                await (await client.ping())

        await client.send(cut())
        # The library ends what comes out of an iterator with an empty fragment, here at both ends.
        assert [fragment async for fragment in client.recv_streaming()] == [*fragments, "", ""]


@pytest.mark.parametrize("size", [0, 1, 125])
async def test_pings_are_answered_by_the_other_end(converse: Converse, size: int) -> None:
    payload = b"p" * size
    async with echo(converse) as server, server.client() as client:
        await client.send("hello")
        await client.recv()
        for end in (client, server.connections[0]):
            assert await (await end.ping(payload)) < PATIENCE_S


@pytest.mark.parametrize("code", CODES)
async def test_the_code_of_a_client_that_closes_reaches_the_server(converse: Converse, code: int) -> None:
    async with echo(converse) as server, server.client() as client:
        await client.close(code, "a reason")
        end = await server.ended()
        assert (end.rcvd, end.rcvd_then_sent) == (Close(code, "a reason"), True)
        assert client.close_code == code


@pytest.mark.parametrize("code", CODES)
async def test_the_code_of_a_server_that_closes_reaches_the_client(converse: Converse, code: int) -> None:
    async with echo(converse) as server, server.client() as client:
        await server.talk.until(lambda: server.connections, "the server knows of the connection")
        await server.connections[0].close(code, "a reason")
        end = await closes(client)
        assert (end.rcvd, end.rcvd_then_sent) == (Close(code, "a reason"), True)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param(Frame(Opcode.TEXT, b"\xce\xba\xff").serialize(mask=True), 1007, id="invalid UTF-8"),
        pytest.param(Frame(Opcode.TEXT, b"hello").serialize(mask=False), 1002, id="not masked"),
        pytest.param(Frame(Opcode.CONT, b"hello").serialize(mask=True), 1002, id="nothing to continue"),
        pytest.param(b"\xa1\x80key!", 1002, id="a reserved bit"),
        pytest.param(b"\x83\x80key!", 1002, id="a reserved opcode"),
        pytest.param(b"\x09\x80key!", 1002, id="a fragmented ping"),
        pytest.param(b"\x89\xfe\x00\x7ekey!" + b"p" * 126, 1002, id="a long ping"),
        pytest.param(b"\x88\x81key!1", 1002, id="half a close code"),
        pytest.param(b"\x88\x82\0\0\0\0\x03\xed", 1002, id="a close code that is none"),
    ],
)
async def test_what_a_client_does_wrong_is_told_by_the_server(
    converse: Converse, wrong: bytes, code: int
) -> None:
    """The proxy passes it on like anything else."""
    async with echo(converse) as server, server.client() as client:
        client.transport.write(wrong)
        end = await closes(client)
        assert end.rcvd is not None
        assert end.rcvd.code == code
        sent = (await server.ended()).sent
        assert sent is not None
        assert sent.code == code


async def test_a_message_that_is_too_big_for_the_server_is_refused_by_it(converse: Converse) -> None:
    async with echo(converse, max_size=1000) as server, server.client() as client:
        await client.send("x" * 1001)
        end = await closes(client)
        assert end.rcvd is not None
        assert end.rcvd.code == 1009


async def test_compression_and_a_subprotocol_are_agreed_on_by_the_ends(converse: Converse) -> None:
    message = "again and again, " * 50_000
    async with (
        echo(converse, compression="deflate", subprotocols=["superchat", "chat"]) as server,
        server.client(compression="deflate", subprotocols=["chat"]) as client,
    ):
        await client.send(message)
        assert await client.recv() == message
        ends: tuple[Connection, Connection] = (client, server.connections[0])
        for end in ends:
            assert [extension.name for extension in end.protocol.extensions] == ["permessage-deflate"]
            assert end.subprotocol == "chat"


async def test_a_hundred_connections_keep_their_messages_apart(converse: Converse) -> None:
    async with echo(converse) as server, AsyncExitStack() as stack:

        async def talk(number: int) -> None:
            client = await stack.enter_async_context(server.client())
            for size in (1, 100, 10_000):
                await client.send(f"{number}," * size)
                assert await client.recv() == f"{number}," * size

        await asyncio.gather(*(talk(number) for number in range(100)))
        assert server.talk.tunnels == 100


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_who_leaves_without_a_word_is_missed_by_the_other(
    converse: Converse, side: str, how: str
) -> None:
    async with echo(converse) as server, server.client() as client:
        await client.send("hello")
        await client.recv()
        leaving = client if side == "client" else server.connections[0]
        if how == "resets":
            sock = leaving.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.transport.abort()
        end = await (server.ended() if side == "client" else closes(client))
        assert (end.rcvd, end.sent) == (None, None)
        assert isinstance(end.__cause__, ConnectionResetError) == (how == "resets")


async def test_a_handshake_that_the_server_refuses_is_a_response(converse: Converse) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(401, "who are you?\n")

    async with echo(converse, process_request=refuse) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with server.client():
                pass
        response = refused.value.response
        assert (response.status_code, response.body) == (401, b"who are you?\n")
        assert server.talk.totals(server.talk.blue[0]).responses[4] == 1


async def test_when_their_time_is_up_both_ends_are_told_that_the_server_goes_away(converse: Converse) -> None:
    async with echo(converse) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.client()) for _ in range(10)]
        for client in clients:
            await client.send("hello")
            await client.recv()
        server.talk.switch(drain_until=time.time())
        server.talk.wake()
        ends = await asyncio.gather(*(closes(client) for client in clients))
        await server.talk.until(lambda: len(server.ends) == 10, "the server's connections have ended")
        for end in (*ends, *server.ends):
            assert (end.rcvd, end.sent, end.rcvd_then_sent) == (Close(1001, ""), Close(1001, ""), True)


async def test_a_switch_of_a_running_bgproxy_tells_them_when_the_drain_has_lasted_long_enough(
    tmp_path: Path,
) -> None:
    ended: asyncio.Queue[ConnectionClosed] = asyncio.Queue()

    async def handle(connection: ServerConnection) -> None:
        await connection.send("hello")
        await ended.put(await closes(connection))

    def healthy(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(200, "ok\n") if request.path == "/health" else None

    async with AsyncExitStack() as stack:
        pools = {}
        for pool in ("blue", "green"):
            server = await stack.enter_async_context(serve(handle, "127.0.0.1", 0, process_request=healthy))
            host, port = server.sockets[0].getsockname()
            pools[pool] = {"upstreams": [f"{host}:{port}"]}
        service = {
            "pools": pools,
            "health": {"path": "/health", "interval": "100ms"},
            "drain": {"timeout": "200ms"},
        }
        proxy = await stack.enter_async_context(bgproxy(tmp_path, {"services": {"web": service}}))
        await proxy.until_healthy("web", "green")
        uri = f"ws://{proxy.addresses['public']}/"
        clients = [await stack.enter_async_context(connect(uri, proxy=None)) for _ in range(10)]
        for client in clients:
            assert await client.recv() == "hello"
        code, _ = await proxy.call("POST", "/admin/switch")
        assert code == 200
        ends = await asyncio.gather(*(closes(client) for client in clients))
        ends += [await ended.get() for _ in clients]
        for end in ends:
            assert (end.rcvd, end.sent) == (Close(1001, ""), Close(1001, ""))
        later = await stack.enter_async_context(connect(uri, proxy=None))
        assert await later.recv() == "hello"
