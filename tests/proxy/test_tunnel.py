"""Upgraded connections: the handshake, bytes both ways, and every way to end."""

from __future__ import annotations

import asyncio
import errno
import functools
import select
import socket
import time

import pytest

from bgproxy.proxy import keepalive, limits
from bgproxy.proxy.upstream import UpstreamConnection
from tests.proxy.conftest import Converse
from tests.proxy.tunnels import switching, tunnel, upgrade, upgrade_forwarded
from tests.support.conversation import answer


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
    await client.sends(upgrade() + "with it,")
    upstream = await talk.blue[0].accepts()
    await upstream.gets(upgrade_forwarded())
    await client.sends("and behind it,")
    downstream = talk.downstream
    await talk.until(lambda: downstream._buffer == b"and behind it,", "both have been read")
    await upstream.sends(switching() + "from the upstream")
    await client.gets(switching() + "from the upstream")
    await client.sends("and later")
    await upstream.gets("with it,and behind it,and later")


async def test_a_refused_upgrade_is_a_plain_response(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(upgrade())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(upgrade_forwarded())
    await upstream.sends(answer("no", status="426 Upgrade Required"))
    await client.gets(answer("no", status="426 Upgrade Required"))
    await client.sends(upgrade())
    await upstream.gets(upgrade_forwarded())
    await upstream.sends(answer("still no", status="426 Upgrade Required"))
    await client.gets(answer("still no", status="426 Upgrade Required"))
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
    await client.sends(upgrade())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(upgrade_forwarded())
    client.half_closes()
    downstream = talk.downstream
    await talk.until(lambda: downstream._eof, "the end has been read")
    await upstream.sends(switching() + "hello")
    await client.gets(switching() + "hello")
    await upstream.gets_end()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_whoever_leaves_a_tunnel_ends_it_for_the_other(converse: Converse, side: str) -> None:
    talk = await converse()
    leaving, staying = (await tunnel(talk)).of(side)
    leaving.closes()
    await staying.gets_end()
    staying.closes()
    await talk.until(lambda: talk.tunnels == 0, "the tunnel has ended")


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_whoever_aborts_a_tunnel_aborts_it_for_the_other(converse: Converse, side: str) -> None:
    talk = await converse()
    leaving, staying = (await tunnel(talk)).of(side)
    leaving.aborts()
    assert await staying.gets_abort() == b""
    assert talk.tunnels == 0


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_what_was_sent_before_an_abort_still_arrives(
    converse: Converse, side: str, ended: bool
) -> None:
    """All of it is there when the proxy looks; with an end in between, it is not told of the abort."""
    talk = await converse()
    leaving, staying = (await tunnel(talk)).of(side)
    leaving.socket.send(b"last words")
    if ended:
        leaving.half_closes()
    leaving.aborts()
    await staying.gets("last words")
    assert await staying.gets_abort() == b""
    assert talk.tunnels == 0


@pytest.mark.parametrize("unix_upstreams", [False, True])
async def test_an_upstream_that_closes_with_bytes_unread_aborts(
    converse: Converse, unix_upstreams: bool
) -> None:
    """A killed process does."""
    talk = await converse(unix_upstreams=unix_upstreams)
    client, upstream = await tunnel(talk)
    await client.sends("never read")
    await talk.until(lambda: select.select([upstream.socket], [], [], 0)[0], "the bytes are there")
    upstream.closes()
    assert await client.gets_abort() == b""


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_who_aborts_after_a_half_close_aborts_too(converse: Converse, side: str) -> None:
    talk = await converse()
    leaving, staying = (await tunnel(talk)).of(side)
    leaving.half_closes()
    await staying.gets_end()
    leaving.aborts()
    await staying.sends("too late")
    # What the kernel makes of a reset behind an end.
    error = functools.partial(staying.socket.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    await talk.until(lambda: error() == errno.EPIPE, "the abort has arrived")
    assert talk.tunnels == 0


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_slow_side_holds_the_other_one_back(converse: Converse, side: str) -> None:
    talk = await converse()
    reader, sender = (await tunnel(talk)).of(side)
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


@pytest.mark.interpreted
@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_side_that_does_not_read_is_cut_off_some_time_after_the_end(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(limits, "TUNNEL_FLUSH_S", 0.2)
    gone: list[UpstreamConnection] = []
    monkeypatch.setattr(keepalive, "forget", gone.append)
    talk = await converse()
    reader, sender = (await tunnel(talk)).of(side)
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
