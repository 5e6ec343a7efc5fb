"""What passes on a connection of a TCP listener, every way in which it ends, and its line in the log."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest

from bgproxy import model
from bgproxy.model import Health, Maintenance, Timeouts
from bgproxy.proxy import limits
from bgproxy.proxy.access_log import AccessLog
from bgproxy.proxy.stream import Relay
from tests.proxy.conftest import Converse
from tests.proxy.streams import converse_over_tcp, relayed
from tests.support.conversation import Conversation

SIDES = pytest.mark.parametrize("side", ["client", "upstream"])
# More than a peer's window has room for that does not read, and less than the kernel takes to send it later.
PIECE = b"0123456789abcdef" * 16384
MUCH = b"0123456789abcdef" * 65536 * 50


async def until_over(talk: Conversation) -> None:
    await talk.until(lambda: talk.tunnels == 0, "the connection is over")


def carried_bytes(talk: Conversation) -> int:
    """Of the only connection that there is: what has been read of one side and given to the other one's transport."""
    (relay,) = talk.plane.tunnels
    assert isinstance(relay, Relay)
    return relay._received_bytes + relay._sent_bytes


async def test_bytes_pass_both_ways_whatever_they_are(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    client, upstream = await relayed(talk)
    await client.sends(b"\0\xffnot HTTP\r\n\r\n")
    await upstream.gets(b"\0\xffnot HTTP\r\n\r\n")
    await upstream.sends(b"GET / HTTP/9.9\r\n\r\n")
    await client.gets(b"GET / HTTP/9.9\r\n\r\n")
    totals = talk.totals(talk.blue[0])
    assert (totals.tunnels, totals.in_flight, totals.responses) == (1, 0, [0, 1, 0, 0, 0, 0])
    assert (talk.worker.connections, talk.worker.accepted) == (1, 1)


async def test_a_server_may_be_the_first_to_speak(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    client, upstream = await relayed(talk)
    await upstream.sends(b"220 mail.example.com ESMTP\r\n")
    await client.gets(b"220 mail.example.com ESMTP\r\n")


@pytest.mark.parametrize("listener", ["public", "unix"])
async def test_both_sides_may_be_unix_sockets(converse: Converse, listener: str) -> None:
    talk = await converse_over_tcp(converse, unix_upstreams=True)
    client = await talk.client(listener)
    await client.sends(b"ping")
    upstream = await talk.blue[0].accepts()
    await upstream.gets(b"ping")
    await upstream.sends(b"pong")
    await client.gets(b"pong")


@SIDES
async def test_who_has_said_all_can_still_listen(converse: Converse, side: str) -> None:
    talk = await converse_over_tcp(converse)
    ending, other = (await relayed(talk)).of(side)
    await ending.sends(b"last words")
    ending.half_closes()
    await other.gets(b"last words")
    await other.gets_end()
    await other.sends(b"an answer")
    await ending.gets(b"an answer")
    other.half_closes()
    await ending.gets_end()
    await until_over(talk)


async def test_a_client_that_has_said_all_at_once_is_answered(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    client = await talk.client()
    await client.sends(b"a question")
    client.half_closes()
    upstream = await talk.blue[0].accepts()
    await upstream.gets(b"a question")
    await upstream.gets_end()
    await upstream.sends(b"an answer")
    upstream.closes()
    await client.gets(b"an answer")
    await client.gets_end()


@SIDES
async def test_an_abort_is_an_abort_for_the_other(converse: Converse, side: str) -> None:
    talk = await converse_over_tcp(converse)
    leaving, staying = (await relayed(talk)).of(side)
    leaving.aborts()
    assert await staying.gets_abort() == b""
    await until_over(talk)


@SIDES
async def test_an_abort_takes_nothing_back_that_was_sent_before(converse: Converse, side: str) -> None:
    """Not even what the other side's window has no room for; only then is it a reset."""
    talk = await converse_over_tcp(converse)
    leaving, staying = (await relayed(talk)).of(side)
    await leaving.sends(PIECE)
    await talk.until(lambda: carried_bytes(talk) == len(PIECE), "all of it is relayed")
    leaving.aborts()
    await until_over(talk)
    await talk.sweeps()
    assert await staying.gets_abort() == PIECE


@SIDES
async def test_an_abort_waits_for_nobody_for_ever(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(limits, "TUNNEL_FLUSH_S", 0.1)
    talk = await converse_over_tcp(converse)
    leaving, staying = (await relayed(talk)).of(side)
    await leaving.sends(PIECE)
    await talk.until(lambda: carried_bytes(talk) == len(PIECE), "all of it is relayed")
    leaving.aborts()
    await talk.until(lambda: staying.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "it is told")
    assert len(await staying.gets_cut_off()) < len(PIECE)


@SIDES
async def test_a_slow_side_holds_the_other_one_back(converse: Converse, side: str) -> None:
    talk = await converse_over_tcp(converse)
    reader, sender = (await relayed(talk)).of(side)
    pouring = asyncio.ensure_future(sender.pours(MUCH))
    await talk.until_stuck(lambda: sender.sent_bytes)
    assert sender.sent_bytes < len(MUCH) // 2
    assert talk.buffered_bytes < 1024 * 1024
    assert await reader.gets_bytes(len(MUCH)) == MUCH
    await pouring


# --- time -----------------------------------------------------------------------------------------


async def test_a_connection_on_which_nothing_passes_is_closed(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, timeouts=Timeouts(idle_s=0.05))
    client, upstream = await relayed(talk)
    await client.gets_end()
    await upstream.gets_end()


@SIDES
async def test_a_byte_of_either_side_keeps_it_open(converse: Converse, side: str) -> None:
    talk = await converse_over_tcp(converse, timeouts=Timeouts(idle_s=0.2))
    one, other = (await relayed(talk)).of(side)
    until = talk.plane.now + 0.5
    while talk.plane.now < until:
        await talk.until_later(0.05)
        await one.sends(b".")
        await other.gets(b".")
    await one.gets_end()


async def test_the_total_time_counts_whatever_passes(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, timeouts=Timeouts(total_s=0.1))
    client, upstream = await relayed(talk)
    began = talk.plane.now
    while talk.tunnels:
        upstream.socket.send(b".")
        await talk.until_later(0.0)
    assert 0.05 < talk.plane.now - began < 1.0
    assert set(await client.gets_cut_off()) == set(b".")


async def test_never_is_never(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, timeouts=Timeouts(idle_s=inf))
    await relayed(talk)
    assert [each.deadline for each in talk.plane.downstreams] == [inf]


# --- cutovers and shutdowns -----------------------------------------------------------------------


async def test_a_connection_survives_a_switch_and_ends_with_the_drain(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    client, upstream = await relayed(talk)
    talk.switch(drain_until=time.time() + 1000)
    talk.wake()
    newer, newer_upstream = await relayed(talk, talk.green[0])
    await client.sends(b"still here")
    await upstream.gets(b"still here")
    notified = talk.notified
    talk.publish(drain_until=time.time())
    talk.wake()
    await client.gets_end()
    await upstream.gets_end()
    assert talk.totals(talk.blue[0]).tunnels == 0
    assert talk.notified > notified + 1  # by the adoption, and by the end of what is awaited
    await newer.sends(b"here to stay")
    await newer_upstream.gets(b"here to stay")


async def test_a_worker_that_is_replaced_keeps_its_connections(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    client, upstream = await relayed(talk)
    talk.plane.drain(inf, inf)
    await talk.sweeps()
    await client.sends(b"still here")
    await upstream.gets(b"still here")


async def test_a_shutdown_waits_for_its_deadline_and_not_longer(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    client, upstream = await relayed(talk)
    talk.plane.drain(0.1, 0.0)
    await client.sends(b"still here")
    await upstream.gets(b"still here")
    assert await client.gets_cut_off() == b""
    await upstream.gets_cut_off()
    await talk.until(talk.plane.is_empty, "nobody is left")


# --- the access log -------------------------------------------------------------------------------


@asynccontextmanager
async def logged(talk: Conversation, directory: Path, form: str = "json") -> AsyncIterator[list[Any]]:
    """The lines of what is over at its end."""
    path = directory / "access.log"
    lines: list[Any] = []
    log = AccessLog(model.AccessLog(path=str(path), format=form), talk.plane.cells)
    talk.plane.access_log = log
    try:
        yield lines
        await talk.until(lambda: not talk.tunnels, "all connections are over")
    finally:
        talk.plane.access_log = None
        log.close()
    text = path.read_text().splitlines()
    lines += map(json.loads, text) if form == "json" else text


async def test_a_connection_is_one_line_when_it_is_over(converse: Converse, tmp_path: Path) -> None:
    talk = await converse_over_tcp(converse)
    async with logged(talk, tmp_path) as lines:
        client, upstream = await relayed(talk)
        await client.sends(b"12345")
        await upstream.gets(b"12345")
        await upstream.sends(b"123")
        client.half_closes()
        upstream.closes()
        await client.gets(b"123")
    (line,) = lines
    assert line.pop("duration_ms") > line.pop("connect_ms") > 0
    assert line.pop("time")
    assert {name: value for name, value in line.items() if value is not None} == {
        "client": "127.0.0.1",
        "method": "TCP",
        "target": "-",
        "scheme": "tcp",
        "status": 101,
        "outcome": "ok",
        "service": "web",
        "pool": "blue",
        "version": "v1",
        "upstream": "upstream-1",
        "attempts": 1,
        "request_bytes": 5,
        "response_bytes": 3,
    }


async def test_the_combined_line_is_as_good_as_it_can_be(converse: Converse, tmp_path: Path) -> None:
    talk = await converse_over_tcp(converse)
    async with logged(talk, tmp_path, "combined") as lines:
        client, upstream = await relayed(talk)
        await upstream.sends(b"123")
        await client.gets(b"123")
        client.closes()
        upstream.closes()
    assert lines[0].startswith("127.0.0.1 - - [")
    assert lines[0].endswith('] "TCP - -" 101 3 "-" "-"')


async def test_the_log_tells_how_a_connection_ended(converse: Converse, tmp_path: Path) -> None:
    talk = await converse_over_tcp(converse)
    async with logged(talk, tmp_path) as lines:
        for side in ("client", "upstream"):
            ends = await relayed(talk)
            ends.of(side)[0].aborts()
            await until_over(talk)
        await relayed(talk)
        for tunnel in list(talk.plane.tunnels):
            tunnel.end()
        talk.publish(maintenance=Maintenance())
        await (await talk.client()).gets_abort()
        talk.publish(maintenance=None, active=talk.pool("blue", Health.HEALTHY))
        talk.blue[0].refuses()
        await (await talk.client()).gets_abort()
        talk.plane.max_connections = 0
        await (await talk.client()).gets_abort()
    assert [(line["status"], line["outcome"], line["upstream"]) for line in lines] == [
        (101, "client_left", "upstream-1"),
        (101, "upstream_reset", "upstream-1"),
        (101, "closed", "upstream-1"),
        (503, "unavailable", None),
        (502, "connect_failed", "upstream-1"),
        (503, "refused", None),
    ]
