from __future__ import annotations

from dataclasses import replace

import pytest

from bgproxy.model import Canary, Health, Mirror
from bgproxy.proxy import limits
from tests.proxy.conftest import Converse
from tests.proxy.mirrors import EVERY, MARK, asks, copied, until_counted
from tests.support.conversation import Conversation, answer, forwarded, get, post
from tests.support.peers import Peer, ScriptedUpstream


async def answered(
    talk: Conversation, client: Peer, request: str, *, by: ScriptedUpstream | None = None
) -> None:
    """A request, and its answer by blue or another."""
    upstream = by or talk.blue[0]
    await client.sends(request)
    peer = upstream.peers[0] if upstream.peers else await upstream.accepts()
    await peer.gets(forwarded(request))
    await peer.sends(answer("x"))
    await client.gets(answer("x"))


async def test_the_share_is_exact(converse: Converse) -> None:
    talk = await converse(mirror=Mirror(share=0.25))
    client = await talk.client()
    for _ in range(8):
        await answered(talk, client, get())
    green = await talk.green[0].accepts()
    await green.gets(copied(get()))
    await until_counted(talk, mirrored=2)
    await green.sends(answer("x"))
    await until_counted(talk, mirrored=2, same=1)


async def test_only_requests_that_change_nothing_are_copied(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    for request in (post("x"), get(method="DELETE"), get("/", "Content-Length: 1") + "x"):
        await answered(talk, client, request)
    await until_counted(talk)
    assert talk.green[0].is_unused()


async def test_what_goes_to_the_idle_pool_anyway_is_not_copied(converse: Converse) -> None:
    talk = await converse(mirror=EVERY, canary=Canary(weight=100))
    client, previewer = await talk.client(), await talk.client("preview")
    await answered(talk, client, get(), by=talk.green[0])
    await answered(talk, previewer, get(), by=talk.green[0])
    await until_counted(talk)
    assert talk.blue[0].is_unused()


async def test_a_client_cannot_mark_a_request_twice(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    mine = "x-bgproxy-MIRROR: me too"
    await client.sends(get("/", mine, "X-Other: 1"))
    green = await talk.green[0].accepts()
    await green.gets(copied(get("/", "X-Other: 1")))
    assert MARK.lower() not in mine.lower()


async def test_without_a_healthy_idle_pool_nothing_is_copied(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    talk.publish(idle=talk.pool("green", Health.UNHEALTHY))
    client = await talk.client()
    await answered(talk, client, get())
    await until_counted(talk, left_out=1)
    assert talk.green[0].is_unused()


async def test_too_many_copies_at_once_are_left_out(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SHADOWS", 2)
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    for _ in range(5):
        await answered(talk, client, get())
    await until_counted(talk, mirrored=2, left_out=3)
    await (await talk.green[0].accepts()).sends(answer("x"))
    await until_counted(talk, mirrored=2, left_out=3, same=1)
    await answered(talk, client, get())
    await until_counted(talk, mirrored=3, left_out=3, same=1)


async def test_after_a_switch_the_other_side_gets_the_copies(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    for peer in (blue, green):
        await peer.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, same=1)
    talk.switch()
    await client.sends(get("/2"))
    green = await talk.green[0].accepts()  # a request's connection, not a copy's
    await green.gets(forwarded(get("/2")))
    blue = await talk.blue[0].accepts()
    await blue.gets(copied(get("/2")))


async def test_a_pool_that_drains_gets_no_copies_and_loses_their_connections(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    for peer in (blue, green):
        await peer.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, same=1)
    talk.publish(drain_until=4e9)
    await answered(talk, client, get("/2"))
    await green.gets_cut_off()
    await until_counted(talk, mirrored=1, same=1)


async def test_a_copy_that_is_under_way_as_its_pool_drains_leaves_no_connection(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    talk.publish(drain_until=4e9)
    talk.wake()
    await talk.sweeps()
    await green.sends(answer("x"))
    await green.gets_cut_off()
    await blue.sends(answer("x"))
    await until_counted(talk, mirrored=1, same=1)


async def test_idle_connections_of_copies_are_closed_in_time(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    talk.publish(keepalive=replace(talk.view.policy.keepalive, idle_s=0.05))
    blue, green = await asks(talk, client, get())
    for peer in (blue, green):
        await peer.sends(answer("x"))
    await until_counted(talk, mirrored=1, same=1)
    await green.gets_cut_off()


async def test_a_service_without_a_mirror_copies_nothing(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await answered(talk, client, get())
    assert talk.green[0].is_unused()
    assert not talk.plane.shadows


async def test_copies_that_are_under_way_end_with_the_worker(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    _, green = await asks(talk, client, get())
    talk.plane.shadows.close()
    await green.gets_cut_off()
    assert not talk.plane.shadows.under_way
