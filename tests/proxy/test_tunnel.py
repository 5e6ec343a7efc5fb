"""Upgraded connections: the handshake, bytes both ways, and every way to end."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import pytest

from bgproxy.proxy import keepalive, limits
from bgproxy.proxy.upstream import UpstreamConnection
from tests.proxy.conftest import Converse
from tests.support.conversation import FORWARDED, Conversation, answer, get
from tests.support.peers import Peer

UPGRADE = get("/chat", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc")
UPGRADE_FORWARDED = (
    get("/chat", "Sec-WebSocket-Key: abc")[:-1] + FORWARDED + "Connection: Upgrade\nUpgrade: websocket\n\n"
)
SWITCHING = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n"


class Ends(NamedTuple):
    client: Peer
    upstream: Peer


async def tunnel(talk: Conversation) -> Ends:
    client = await talk.client()
    await client.sends(UPGRADE)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(UPGRADE_FORWARDED)
    await upstream.sends(SWITCHING)
    await client.gets(SWITCHING)
    return Ends(client, upstream)


async def test_after_the_handshake_bytes_pass_both_ways_whatever_they_are(converse: Converse) -> None:
    talk = await converse()
    client, upstream = await tunnel(talk)
    await client.sends(b"\x81\x05hello")
    await upstream.gets(b"\x81\x05hello")
    await upstream.sends(b"HTTP/1.1 200 OK\r\n\r\n")
    await client.gets(b"HTTP/1.1 200 OK\r\n\r\n")
    totals = talk.totals(talk.blue[0])
    assert (totals.tunnels, totals.in_flight, totals.responses[1]) == (1, 0, 1)


async def test_bytes_right_behind_the_handshake_are_not_lost(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(UPGRADE + "with it,")
    upstream = await talk.blue[0].accepts()
    await upstream.gets(UPGRADE_FORWARDED)
    await client.sends("and behind it,")
    downstream = next(iter(talk.plane.downstreams))
    await talk.until(lambda: downstream._buffer == b"and behind it,", "both have been read")
    await upstream.sends(SWITCHING + "from the upstream")
    await client.gets(SWITCHING + "from the upstream")
    await client.sends("and later")
    await upstream.gets("with it,and behind it,and later")


async def test_a_refused_upgrade_is_a_plain_response(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(UPGRADE)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(UPGRADE_FORWARDED)
    await upstream.sends(answer("no", status="426 Upgrade Required"))
    await client.gets(answer("no", status="426 Upgrade Required"))
    await client.sends(UPGRADE)
    await upstream.gets(UPGRADE_FORWARDED)
    assert talk.tunnels == 0


async def test_a_client_that_half_closes_can_still_read(converse: Converse) -> None:
    talk = await converse()
    client, upstream = await tunnel(talk)
    await client.sends("last words")
    client.half_closes()
    await upstream.gets("last words")
    await upstream.gets_end()
    await upstream.sends("an answer")
    await client.gets("an answer")
    upstream.closes()
    await client.gets_end()
    assert talk.tunnels == 0


async def test_an_upstream_that_half_closes_can_still_read(converse: Converse) -> None:
    talk = await converse()
    client, upstream = await tunnel(talk)
    await upstream.sends("last words")
    upstream.half_closes()
    await client.gets("last words")
    await client.gets_end()
    await client.sends("an answer")
    await upstream.gets("an answer")
    client.half_closes()
    await upstream.gets_end()
    await talk.until(lambda: talk.tunnels == 0, "the tunnel has ended")


async def test_a_client_that_half_closed_before_the_handshake_was_answered_is_known_to_have(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(UPGRADE)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(UPGRADE_FORWARDED)
    client.half_closes()
    downstream = next(iter(talk.plane.downstreams))
    await talk.until(lambda: downstream._eof, "the end has been read")
    await upstream.sends(SWITCHING + "hello")
    await client.gets(SWITCHING + "hello")
    await upstream.gets_end()


@pytest.mark.parametrize("how", ["closes", "aborts"])
@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_whoever_leaves_a_tunnel_ends_it_for_the_other(converse: Converse, side: str, how: str) -> None:
    talk = await converse()
    ends = await tunnel(talk)
    leaving, staying = (ends.client, ends.upstream) if side == "client" else (ends.upstream, ends.client)
    getattr(leaving, how)()
    await staying.gets_cut_off()
    staying.closes()
    await talk.until(lambda: talk.tunnels == 0, "the tunnel has ended")


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_slow_side_holds_the_other_one_back(converse: Converse, side: str) -> None:
    talk = await converse()
    ends = await tunnel(talk)
    sender, reader = (ends.upstream, ends.client) if side == "client" else (ends.client, ends.upstream)
    data = b"0123456789abcdef" * 65536 * 50
    pouring = asyncio.ensure_future(sender.pours(data))
    await talk.until_stuck(lambda: sender.sent_bytes)
    assert sender.sent_bytes < len(data) // 2
    assert talk.buffered_bytes < 1024 * 1024
    assert await reader.gets_bytes(len(data)) == data
    await pouring


async def test_a_tunnel_survives_a_switch_and_ends_with_the_drain(converse: Converse) -> None:
    talk = await converse()
    client, upstream = await tunnel(talk)
    talk.switch(drain_until=time.time() + 1000)
    talk.wake()
    await client.sends("still here")
    await upstream.gets("still here")
    notified = talk.notified
    talk.publish(drain_until=time.time())
    talk.wake()
    await client.gets_end()
    await upstream.gets_end()
    assert talk.tunnels == 0
    assert talk.notified > notified + 1  # by the adoption, and by the end of what is awaited


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_side_that_does_not_read_is_cut_off_some_time_after_the_end(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(limits, "TUNNEL_FLUSH_S", 0.2)
    gone: list[UpstreamConnection] = []
    monkeypatch.setattr(keepalive, "forget", gone.append)
    talk = await converse()
    ends = await tunnel(talk)
    sender, reader = (ends.upstream, ends.client) if side == "client" else (ends.client, ends.upstream)
    pouring = asyncio.ensure_future(sender.pours(b"a" * 50_000_000))
    await talk.until_stuck(lambda: sender.sent_bytes)
    talk.switch(drain_until=time.time())
    talk.wake()
    await talk.until(lambda: talk.tunnels == 0, "the tunnel has ended")
    await talk.until(lambda: gone and not talk.plane.downstreams, "both connections are gone")
    assert len(await reader.gets_cut_off()) < sender.sent_bytes
    await asyncio.gather(pouring, return_exceptions=True)


async def test_the_drain_of_one_pool_leaves_the_tunnels_of_the_other_alone(converse: Converse) -> None:
    talk = await converse()
    client, upstream = await tunnel(talk)
    talk.publish(drain_until=time.time())
    talk.wake()
    await talk.sweeps()
    await client.sends("still here")
    await upstream.gets("still here")
