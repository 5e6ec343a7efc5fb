"""Snapshots in mid-conversation: cutovers, holds and drains."""

from __future__ import annotations

import asyncio
import time

import pytest

from bgproxy.model import Hold, Timeouts
from tests.proxy.conftest import Converse
from tests.support.conversation import Conversation, answer, forwarded, get, post
from tests.support.peers import Peer, ScriptedUpstream

FAR = 4_000_000_000.0
HOLD = Hold(1, FAR, 100, 1_000_000)


async def parked(talk: Conversation, *requests: str) -> list[Peer]:
    """Clients whose requests are kept, in this order."""
    clients = []
    for request in requests:
        client = await talk.client()
        await client.sends(request)
        clients.append(client)
        await talk.until(lambda: talk.worker.parked == len(clients), "the request is parked")
    return clients


async def answered(client: Peer, upstream: ScriptedUpstream, request: str) -> None:
    peer = upstream.peers[-1] if upstream.peers else await upstream.accepts()
    await peer.gets(forwarded(request))
    await peer.sends(answer(upstream.name))
    await client.gets(answer(upstream.name))


# Cutovers


async def test_the_very_next_request_of_a_kept_alive_connection_obeys_a_switch(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    for number in range(10):
        await client.sends(get(f"/{number}"))
        await answered(client, (talk.blue, talk.green)[number % 2][0], get(f"/{number}"))
        talk.switch()
    assert len(talk.blue[0].peers) == len(talk.green[0].peers) == 1


async def test_of_pipelined_requests_those_behind_a_switch_go_to_the_new_pool(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/1") + get("/2"))
    blue = await talk.blue[0].accepts()
    await blue.gets(forwarded(get("/1")))
    talk.switch()
    await blue.sends(answer("blue"))
    await client.gets(answer("blue"))
    await answered(client, talk.green[0], get("/2"))


async def test_a_request_under_way_ends_where_it_began(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    head = get("/", "Content-Length: 6", method="POST")
    await client.sends(head + "abc")
    blue = await talk.blue[0].accepts()
    await blue.gets(forwarded(head) + "abc")
    talk.switch()
    talk.wake()
    await client.sends("def")
    await blue.gets("def")
    await blue.sends(answer("blue"))
    await client.gets(answer("blue"))


async def test_the_idle_connections_of_a_draining_pool_are_closed(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    await answered(client, talk.blue[0], get())
    talk.switch(drain_until=FAR)
    talk.wake()
    await talk.blue[0].peers[0].gets_end()
    assert talk.kept(talk.blue[0]) == 0


async def test_what_the_worker_obeys_can_be_seen_and_is_announced(converse: Converse) -> None:
    talk = await converse()
    seen, notified = talk.worker.seen, talk.notified
    talk.switch()
    assert talk.worker.seen == seen
    talk.wake()
    assert talk.worker.seen > seen
    assert talk.notified == notified + 1
    talk.wake()
    assert talk.notified == notified + 1


async def test_the_last_request_of_an_awaited_pool_is_announced(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    blue = await talk.blue[0].accepts()
    await blue.gets(forwarded(get()))
    talk.switch(drain_until=FAR)
    talk.wake()
    notified = talk.notified
    await blue.sends(answer())
    await client.gets(answer())
    assert talk.notified == notified + 1


# Holds


async def test_held_requests_are_released_to_the_new_pool_in_the_order_of_their_arrival(
    converse: Converse,
) -> None:
    talk = await converse(hold=HOLD)
    clients = await parked(talk, get("/1"), post("two"), get("/3"))
    assert talk.blue[0].is_unused()
    assert talk.green[0].is_unused()
    assert talk.service_totals.held == 3
    talk.switch(hold=None)
    talk.wake()
    assert talk.worker.parked == 0
    for client, request in zip(clients, (get("/1"), post("two"), get("/3")), strict=True):
        peer = await talk.green[0].accepts()
        await peer.gets(forwarded(request))
        await peer.sends(answer("green"))
        await client.gets(answer("green"))
    assert talk.blue[0].is_unused()


async def test_a_new_request_releases_a_hold_that_is_over_as_well(converse: Converse) -> None:
    talk = await converse(hold=HOLD)
    (first,) = await parked(talk, get("/1"))
    talk.switch(hold=None)
    second = await talk.client()
    await second.sends(get("/2"))
    for client, request in ((first, get("/1")), (second, get("/2"))):
        peer = await talk.green[0].accepts()
        await peer.gets(forwarded(request))
        await peer.sends(answer())
        await client.gets(answer())


async def test_a_request_under_way_is_not_held(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    blue = await talk.blue[0].accepts()
    await blue.gets(forwarded(get()))
    talk.publish(hold=HOLD)
    talk.wake()
    await blue.sends(answer())
    await client.gets(answer())
    assert talk.worker.parked == 0


async def test_previews_are_not_held(converse: Converse) -> None:
    talk = await converse(hold=HOLD)
    client = await talk.client("preview")
    await client.sends(get())
    await answered(client, talk.green[0], get())


@pytest.mark.parametrize("limit", [Hold(7, FAR, 2, 1_000_000), Hold(7, FAR, 100, 70)])
async def test_a_limit_ends_the_hold_and_fails_no_request(converse: Converse, limit: Hold) -> None:
    talk = await converse(hold=limit)
    requests = [get(f"/{number}") for number in range(3)]
    clients = await parked(talk, *requests[:2])
    late = await talk.client()
    await late.sends(requests[2])
    for client, request in zip((*clients, late), requests, strict=True):
        peer = await talk.blue[0].accepts()
        await peer.gets(forwarded(request))
        await peer.sends(answer())
        await client.gets(answer())
    assert talk.worker.overflowed == 7
    await clients[0].sends(get("/not-held"))
    await talk.until(lambda: talk.in_flight == 1, "it is not held")


async def test_a_hold_ends_at_its_deadline_without_a_controller(converse: Converse) -> None:
    talk = await converse(hold=Hold(1, time.time() + 0.3, 100, 1_000_000))
    (client,) = await parked(talk, get())
    await answered(client, talk.blue[0], get())
    await client.sends(get("/next"))
    await answered(client, talk.blue[0], get("/next"))


async def test_an_upload_that_was_held_in_mid_body_goes_on(converse: Converse) -> None:
    talk = await converse(hold=HOLD)
    head = get("/", "Content-Length: 1000000", method="POST")
    (client,) = await parked(talk, head + "a" * 100)
    pouring = asyncio.ensure_future(client.pours(b"b" * 999_900))
    talk.switch(hold=None)
    talk.wake()
    green = await talk.green[0].accepts()
    await green.gets(forwarded(head) + "a" * 100 + "b" * 999_900)
    await pouring
    await green.sends(answer())
    await client.gets(answer())


async def test_a_second_hold_keeps_what_the_first_one_kept(converse: Converse) -> None:
    talk = await converse(hold=HOLD)
    (client,) = await parked(talk, get())
    talk.publish(hold=Hold(2, FAR, 100, 1_000_000))
    talk.wake()
    assert talk.worker.parked == 1
    assert talk.blue[0].is_unused()
    talk.publish(hold=None)
    talk.wake()
    await answered(client, talk.blue[0], get())


async def test_a_held_request_does_not_time_out(converse: Converse) -> None:
    talk = await converse(hold=HOLD, timeouts=Timeouts(request_head_s=0.02, response_head_s=0.5, total_s=0.5))
    (client,) = await parked(talk, get())
    await talk.until_later(0.05)
    talk.publish(hold=None)
    talk.wake()
    await answered(client, talk.blue[0], get())


# Shutdown


async def test_a_draining_worker_says_so_in_its_next_response_and_closes(converse: Converse) -> None:
    talk = await converse()
    client, waiting = await talk.client(), await talk.client()
    await client.sends(get())
    await answered(client, talk.blue[0], get())
    talk.plane.drain(timeout_s=FAR, idle_grace_s=FAR)
    assert talk.worker.draining
    await client.sends(get("/last"))
    (blue,) = talk.blue[0].peers
    await blue.gets(forwarded(get("/last")))
    await blue.sends(answer("bye"))
    await client.gets(answer("bye", "Connection: close"))
    await client.gets_end()
    await waiting.sends("GET / HTTP/1.1\nHost: nowhere\n\n")
    assert (await waiting.gets_response()).fields["connection"] == "close"
    await waiting.gets_end()
    waiting.closes()
    await talk.until(talk.plane.is_empty, "the worker is empty")


async def test_a_draining_worker_closes_idle_connections_after_the_grace_and_finishes_the_others(
    converse: Converse,
) -> None:
    talk = await converse()
    idle, busy = await talk.client(), await talk.client()
    await busy.sends(get())
    blue = await talk.blue[0].accepts()
    await blue.gets(forwarded(get()))
    talk.plane.drain(timeout_s=FAR, idle_grace_s=0.02)
    await idle.gets_end()
    await blue.sends(answer("finished"))
    await busy.gets(answer("finished", "Connection: close"))
    await busy.gets_end()


async def test_the_end_of_a_drain_is_an_abort(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get(version="1.0"))
    blue = await talk.blue[0].accepts()
    await blue.gets(forwarded(get()))
    await blue.sends("HTTP/1.1 200 OK\n\nbegun")
    await client.gets("HTTP/1.1 200 OK\nConnection: close\n\nbegun")
    talk.plane.drain(timeout_s=0.02, idle_grace_s=0.01)
    assert await client.gets_abort() == b""
    await blue.gets_cut_off()
