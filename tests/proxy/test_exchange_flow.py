"""Backpressure both ways, and clients that leave: nothing is buffered whole and nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket

import pytest

from bgproxy.model import Hold
from bgproxy.proxy.exchange import Exchange
from tests.proxy.conftest import Converse
from tests.support.conversation import Conversation, answer, forwarded, get
from tests.support.peers import Peer, narrow, wire

MIB = 1024 * 1024
# What two kernel buffers of a loopback connection may hold at most, with room to spare.
KERNEL_BYTES = 24 * MIB
PROXY_BYTES = MIB
FAR = 4_000_000_000.0


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_slow_reader_holds_the_upstream_back(converse: Converse, framing: str) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get(version="1.0" if framing == "close" else "1.1"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    body = os.urandom(MIB) * 50
    head, message = f"HTTP/1.1 200 OK\nContent-Length: {len(body)}\n\n", body
    if framing == "chunked":
        head, message = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", b"%x\r\n%b\r\n" % (len(body), body)
    elif framing == "close":
        head = "HTTP/1.1 200 OK\n\n"
    await upstream.sends(head)
    pouring = asyncio.ensure_future(upstream.pours(message))
    await talk.until_stuck(lambda: upstream.sent_bytes)
    assert upstream.sent_bytes < KERNEL_BYTES
    assert talk.buffered_bytes < PROXY_BYTES
    await client.gets_until(b"\r\n\r\n")
    digest, left, most = hashlib.sha256(), len(message), 0
    while left:
        piece = await client.gets_bytes(min(left, MIB))
        digest.update(piece)
        left -= len(piece)
        most = max(most, talk.buffered_bytes)
    await pouring
    assert digest.digest() == hashlib.sha256(message).digest()
    assert most < PROXY_BYTES


async def test_a_slow_upstream_holds_the_client_back(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    body = os.urandom(MIB) * 50
    head = get("/", f"Content-Length: {len(body)}", method="POST")
    await client.sends(head)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head))
    pouring = asyncio.ensure_future(client.pours(body))
    await talk.until_stuck(lambda: client.sent_bytes)
    assert client.sent_bytes < KERNEL_BYTES
    assert hashlib.sha256(await upstream.gets_bytes(len(body))).digest() == hashlib.sha256(body).digest()
    await pouring
    await upstream.sends(answer("done"))
    await client.gets(answer("done"))


async def test_an_answer_before_the_whole_upload_was_read_ends_both_connections(converse: Converse) -> None:
    """The client must not be left unread, nor the upstream's connection reused with half a request in it."""
    talk = await converse()
    client = await talk.client()
    body = b"a" * 8 * MIB
    head = get("/", f"Content-Length: {len(body)}", method="POST")
    await client.sends(head)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head))
    pouring = asyncio.ensure_future(client.pours(body))
    await talk.until_stuck(lambda: client.sent_bytes)
    await upstream.sends(answer("enough"))
    await client.gets(answer("enough", "Connection: close"))
    await upstream.gets_cut_off()
    await asyncio.gather(pouring, return_exceptions=True)
    await client.gets_cut_off()
    assert talk.kept(talk.blue[0]) == 0


async def stuck_upload(talk: Conversation) -> tuple[Peer, Peer]:
    """A request that the proxy has read to its end and cannot pass on, because nobody reads it."""
    narrow(talk.blue[0].socket, socket.SO_RCVBUF)
    client = await talk.client()
    head = get("/", "Content-Length: 80000", method="POST")
    await client.sends(head)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head))
    downstream = talk.downstream
    exchange = downstream.user
    assert isinstance(exchange, Exchange)
    assert exchange.connection is not None
    narrow(exchange.connection.transport.get_extra_info("socket"), socket.SO_SNDBUF)
    await client.sends("a" * 80_000)
    await talk.until(lambda: exchange.body is None, "all of the request has come")
    assert exchange.is_unsent()
    return client, upstream


async def test_an_upstream_that_dies_with_an_upload_stuck_leaves_the_client_usable(
    converse: Converse,
) -> None:
    talk = await converse()
    client, upstream = await stuck_upload(talk)
    upstream.aborts()
    assert (await client.gets_response()).status == 502
    await client.sends(get("/next"))
    await (await talk.blue[0].accepts()).gets(forwarded(get("/next")))


async def test_an_answer_that_comes_with_an_upload_stuck_ends_both_connections(converse: Converse) -> None:
    talk = await converse()
    client, upstream = await stuck_upload(talk)
    await upstream.sends(answer("enough"))
    await client.gets(answer("enough", "Connection: close"))
    await client.gets_end()
    await upstream.gets_cut_off()
    assert talk.kept(talk.blue[0]) == 0


async def test_a_large_upload_that_comes_while_connecting_leaves_the_connection_usable(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = await converse()
    connect, attempts = talk.plane.connector.connect, []
    monkeypatch.setattr(talk.plane.connector, "connect", lambda *attempt: attempts.append(attempt))
    client = await talk.client()
    head = get("/", "Content-Length: 100000", method="POST")
    await client.sends(head)
    await talk.until(lambda: attempts, "a connection is wanted")
    await client.sends("a" * 100_000)
    (exchange,) = [attempt[1] for attempt in attempts]
    await talk.until(lambda: exchange.parked_bytes() > 100_000, "the body has come")
    monkeypatch.setattr(talk.plane.connector, "connect", connect)
    connect(*attempts[0])
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head) + "a" * 100_000)
    await upstream.sends(answer())
    await client.gets(answer())
    await client.sends(get("/next"))
    await upstream.gets(forwarded(get("/next")))


async def test_a_body_that_comes_while_connecting_is_not_kept_whole(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = await converse()
    connect, attempts = talk.plane.connector.connect, []
    monkeypatch.setattr(talk.plane.connector, "connect", lambda *attempt: attempts.append(attempt))
    client = await talk.client()
    body = b"a" * 40 * MIB
    head = get("/", f"Content-Length: {len(body)}", method="POST")
    await client.sends(head)
    await talk.until(lambda: attempts, "a connection is wanted")
    pouring = asyncio.ensure_future(client.pours(body))
    await talk.until_stuck(lambda: client.sent_bytes)
    assert attempts[0][1].parked_bytes() < PROXY_BYTES
    monkeypatch.setattr(talk.plane.connector, "connect", connect)
    connect(*attempts[0])
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head))
    assert await upstream.gets_bytes(len(body)) == body
    await pouring
    await upstream.sends(answer())
    await client.gets(answer())


async def test_pipelined_bytes_are_bounded_while_a_request_is_under_way(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/1"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/1")))
    upload = b"a" * 40 * MIB
    head = get("/2", f"Content-Length: {len(upload)}", method="POST")
    await client.sends(head)
    pouring = asyncio.ensure_future(client.pours(upload))
    await talk.until_stuck(lambda: client.sent_bytes)
    assert client.sent_bytes < KERNEL_BYTES
    await upstream.sends(answer("1"))
    await client.gets(answer("1"))
    await upstream.gets(forwarded(head))
    assert await upstream.gets_bytes(len(upload)) == upload
    await pouring


# Clients that leave. That the books are closed afterwards is asserted at the end of every conversation.


async def test_a_client_that_leaves_before_the_response_takes_the_upstreams_connection_along(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    assert talk.in_flight == 1
    client.aborts()
    assert await upstream.gets_cut_off() == b""
    assert talk.in_flight == 0
    assert talk.totals(talk.blue[0]).responses == [1, 0, 0, 0, 0, 0]


async def test_a_client_that_leaves_in_mid_upload_leaves_no_whole_request(converse: Converse) -> None:
    talk = await converse()
    for how in ("aborts", "half_closes"):
        client = await talk.client()
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        await client.sends(head + "3\nabc\n")
        upstream = await talk.blue[0].accepts()
        await upstream.gets(forwarded(head) + "3\nabc\n")
        getattr(client, how)()
        assert await upstream.gets_cut_off() == b""
        await talk.until(lambda: talk.in_flight == 0, "the request has ended")
    assert talk.totals(talk.blue[0]).responses[0] == 2


async def test_a_client_that_leaves_in_mid_response_stops_it(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\nContent-Length: 9\n\nabc")
    await client.gets("HTTP/1.1 200 OK\nContent-Length: 9\n\nabc")
    client.aborts()
    assert await upstream.gets_cut_off() == b""
    assert talk.kept(talk.blue[0]) == 0


async def test_a_client_that_leaves_while_connecting_costs_the_upstream_nothing(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = await converse()
    connect, attempts = talk.plane.connector.connect, []
    monkeypatch.setattr(talk.plane.connector, "connect", lambda *attempt: attempts.append(attempt))
    client = await talk.client()
    await client.sends(get())
    await talk.until(lambda: attempts, "a connection is wanted")
    monkeypatch.setattr(talk.plane.connector, "connect", connect)
    connect(*attempts[0])
    client.aborts()
    await talk.until(lambda: talk.in_flight == 0, "the request has ended")
    assert talk.totals(talk.blue[0]).responses[0] == 1


async def test_a_client_that_leaves_while_parked_is_forgotten(converse: Converse) -> None:
    talk = await converse(hold=Hold(1, FAR, 100, 100_000))
    client = await talk.client()
    await client.sends(get())
    await talk.until(lambda: talk.worker.parked == 1, "the request is parked")
    client.aborts()
    await talk.until(lambda: talk.worker.parked == 0, "it is forgotten")
    assert talk.service_totals.responses[0] == 1  # the client left, and nobody else had to do with it
    talk.publish(hold=None)
    talk.wake()
    assert talk.in_flight == 0
    assert talk.blue[0].is_unused()


async def test_an_upload_comes_no_faster_than_a_new_upstream_reads(converse: Converse) -> None:
    """The pause that the first write asks for must outlive the beginning of the connection."""
    talk = await converse()
    talk.blue[0].socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
    narrow(talk.blue[0].socket, socket.SO_RCVBUF)
    client = await talk.client()
    head = get("/", f"Content-Length: {40 * MIB}", method="POST")
    pouring = asyncio.ensure_future(client.pours(wire(head) + b"a" * 40 * MIB))
    await talk.blue[0].accepts()
    assert await talk.until_stuck(lambda: client.sent_bytes) < 12 * MIB
    client.aborts()
    await asyncio.gather(pouring, return_exceptions=True)
