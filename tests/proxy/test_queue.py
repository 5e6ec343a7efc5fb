"""Requests that wait until an upstream has room."""

from __future__ import annotations

import asyncio

from bgproxy.model import Canary, Limits, Maintenance, ServiceHeaders, Timeouts
from tests.proxy.conftest import Converse
from tests.support.conversation import Conversation, answer, forwarded, get, post
from tests.support.peers import Peer

ONE_AT_ONCE = Limits(upstream_requests=1, queue=2, queue_timeout_s=60.0)


async def begun(talk: Conversation, *requests: str) -> list[Peer]:
    """Clients that have sent a request each, in this order."""
    clients = []
    for request in requests:
        client = await talk.client()
        before = talk.plane.queued + talk.in_flight
        await client.sends(request)
        await talk.until(lambda: talk.plane.queued + talk.in_flight > before, "the request has come")  # noqa: B023
        clients.append(client)
    return clients


async def served(upstream: Peer, client: Peer, request: str) -> None:
    await upstream.gets(forwarded(request))
    await upstream.sends(answer(request.split()[1]))
    await client.gets(answer(request.split()[1]))


async def test_requests_wait_in_order_and_the_one_too_many_is_told_to_come_again(converse: Converse) -> None:
    talk = await converse(limits=ONE_AT_ONCE)
    requests = [get(f"/{number}") for number in range(3)]
    clients = await begun(talk, *requests)
    late = await talk.client()
    await late.sends(get("/late"))
    refused = await late.gets_response()
    assert (refused.status, refused.fields["retry-after"]) == (503, "1")
    upstream = await talk.blue[0].accepts()
    for client, request in zip(clients, requests, strict=True):
        await served(upstream, client, request)
    assert talk.plane.queued == 0


async def test_a_request_that_waits_for_too_long_gets_503(converse: Converse) -> None:
    talk = await converse(limits=Limits(upstream_requests=1, queue=1, queue_timeout_s=0.1))
    first, second = await begun(talk, get("/0"), get("/1"))
    assert (await second.gets_response()).status == 503
    await served(await talk.blue[0].accepts(), first, get("/0"))
    await second.sends(get("/2"))
    await served(talk.blue[0].peers[0], second, get("/2"))


async def test_a_client_that_leaves_gives_up_its_place(converse: Converse) -> None:
    talk = await converse(limits=ONE_AT_ONCE)
    first, second, third = await begun(talk, get("/0"), get("/1"), get("/2"))
    second.aborts()
    await talk.until(lambda: talk.plane.queued == 1, "the place is free")
    upstream = await talk.blue[0].accepts()
    await served(upstream, first, get("/0"))
    await served(upstream, third, get("/2"))


async def test_a_body_that_comes_while_its_request_waits_arrives_whole(converse: Converse) -> None:
    talk = await converse(limits=ONE_AT_ONCE)
    upload = post("b" * 300_000)
    head = upload.split("\n\n")[0] + "\n\n"
    first, second = await begun(talk, get("/0"), head)
    pouring = asyncio.ensure_future(second.pours(b"b" * 300_000))
    upstream = await talk.blue[0].accepts()
    await served(upstream, first, get("/0"))
    await upstream.gets(forwarded(upload))
    await pouring
    await upstream.sends(answer())
    await second.gets(answer())


async def test_a_switch_takes_the_queue_along(converse: Converse) -> None:
    talk = await converse(limits=ONE_AT_ONCE)
    first, second = await begun(talk, get("/0"), get("/1"))
    talk.switch()
    talk.wake()
    await served(await talk.green[0].accepts(), second, get("/1"))
    await served(await talk.blue[0].accepts(), first, get("/0"))


async def test_a_maintenance_ends_the_waiting(converse: Converse) -> None:
    talk = await converse(limits=ONE_AT_ONCE)
    first, second = await begun(talk, get("/0"), get("/1"))
    talk.publish(maintenance=Maintenance(7, "back soon"))
    talk.wake()
    refused = await second.gets_response()
    assert (refused.status, refused.fields["retry-after"]) == (503, "7")
    await served(await talk.blue[0].accepts(), first, get("/0"))


async def test_who_waits_for_one_pool_is_not_served_by_room_in_the_other(converse: Converse) -> None:
    """Nor chooses again at every end of a request, which would bend the share of a canary."""
    talk = await converse(limits=ONE_AT_ONCE, canary=Canary(weight=50))
    requests = [get(f"/{number}") for number in range(4)]
    clients = await begun(talk, *requests)
    served_by = {}
    for pool in (talk.blue[0], talk.green[0]):
        upstream = await pool.accepts()
        for _ in range(2):
            path = (await upstream.gets_until(b"\r\n\r\n")).split()[1].decode()
            served_by[path] = pool
            await upstream.sends(answer(path))
            await clients[int(path[1:])].gets(answer(path))
    assert sorted(served_by) == ["/0", "/1", "/2", "/3"]


async def test_the_time_of_a_request_runs_while_it_waits(converse: Converse) -> None:
    talk = await converse(limits=ONE_AT_ONCE, timeouts=Timeouts(total_s=0.2))
    first, second = await begun(talk, get("/0"), get("/1"))
    assert (await first.gets_response()).status == 504
    await talk.until(lambda: talk.plane.queued == 0, "nobody waits")
    assert (await second.gets_response()).status in (503, 504)


async def test_a_request_that_waits_while_its_service_loses_its_host_goes_on_with_its_own(
    converse: Converse,
) -> None:
    talk = await converse(limits=ONE_AT_ONCE, headers=ServiceHeaders(host="before.example"))
    first, second = await begun(talk, get("/0"), get("/1"))
    talk.publish(headers=ServiceHeaders())
    talk.wake()
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/0")).replace("Host: app", "Host: before.example", 1))
    await upstream.sends(answer("/0"))
    await first.gets(answer("/0"))
    await served(upstream, second, get("/1"))
