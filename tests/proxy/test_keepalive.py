"""Connections to upstreams are used again, but only if nothing of the last exchange can be left in them."""

from __future__ import annotations

import pytest

from bgproxy.model import Keepalive
from tests.proxy.conftest import Converse
from tests.support.conversation import Conversation, answer, forwarded, get, post
from tests.support.peers import Peer


async def exchanged(talk: Conversation, client: Peer, upstream: Peer | None = None) -> Peer:
    """One plain exchange, which leaves an idle connection; returns the upstream's end of it."""
    await client.sends(get())
    peer = upstream or await talk.blue[0].accepts()
    await peer.gets(forwarded(get()))
    await peer.sends(answer())
    await client.gets(answer())
    return peer


async def test_a_connection_serves_one_client_after_the_other(converse: Converse) -> None:
    talk = await converse()
    first, second = await talk.client(), await talk.client()
    upstream = await exchanged(talk, first)
    assert talk.kept(talk.blue[0]) == 1
    await exchanged(talk, second, upstream)
    await exchanged(talk, first, upstream)
    assert talk.blue[0].is_unused()


async def test_the_connection_used_last_is_the_first_to_be_used_again(converse: Converse) -> None:
    talk = await converse()
    clients = [await talk.client() for _ in range(3)]
    upstreams = []
    for client in clients:
        await client.sends(get())
        upstreams.append(await talk.blue[0].accepts())
        await upstreams[-1].gets(forwarded(get()))
    for client, upstream in zip(clients, upstreams, strict=True):
        await upstream.sends(answer())
        await client.gets(answer())
    assert talk.kept(talk.blue[0]) == 3
    await clients[0].sends(get("/next"))
    await upstreams[2].gets(forwarded(get("/next")))


@pytest.mark.parametrize("request_text", [get("/next"), post("next")])
async def test_a_connection_that_was_closed_while_idle_is_not_used(
    converse: Converse, request_text: str
) -> None:
    talk = await converse()
    client = await talk.client()
    upstream = await exchanged(talk, client)
    upstream.closes()
    await talk.until(lambda: talk.kept(talk.blue[0]) == 0, "the end is noticed")
    await client.sends(request_text)
    fresh = await talk.blue[0].accepts()
    await fresh.gets(forwarded(request_text))
    await fresh.sends(answer("ok"))
    await client.gets(answer("ok"))
    assert talk.totals(talk.blue[0]).reset == 0


@pytest.mark.parametrize("request_text", [get("/next"), post("next")])
@pytest.mark.parametrize("idle", [1, 5])
async def test_connections_that_close_right_as_a_request_arrives_cost_it_nothing(
    converse: Converse, request_text: str, idle: int
) -> None:
    """The loop learns of the request and of the ends at once. An upstream that restarts does just that."""
    talk = await converse()
    clients = [await talk.client() for _ in range(idle)]
    upstreams = []
    for client in clients:
        await client.sends(get())
        upstreams.append(await talk.blue[0].accepts())
        await upstreams[-1].gets(forwarded(get()))
    for client, upstream in zip(clients, upstreams, strict=True):
        await upstream.sends(answer())
        await client.gets(answer())
    # No await from here on, so that the loop sees nothing of it before all of it has happened.
    clients[0].socket.send(request_text.replace("\n", "\r\n").encode())
    for upstream in reversed(upstreams):
        upstream.closes()
    fresh = await talk.blue[0].accepts()
    await fresh.gets(forwarded(request_text))
    await fresh.sends(answer("ok"))
    await clients[0].gets(answer("ok"))


async def test_a_kept_connection_that_dies_over_a_get_is_replaced_even_without_another_upstream(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    upstream = await exchanged(talk, client)
    await client.sends(get("/next"))
    await upstream.gets(forwarded(get("/next")))
    upstream.closes()
    fresh = await talk.blue[0].accepts()
    await fresh.gets(forwarded(get("/next")))
    await fresh.sends(answer("ok"))
    await client.gets(answer("ok"))
    assert talk.totals(talk.blue[0]).retried == 1


async def test_a_kept_connection_that_dies_over_a_post_is_a_502(converse: Converse) -> None:
    """It has read the request, and may have done what it says."""
    talk = await converse()
    client = await talk.client()
    upstream = await exchanged(talk, client)
    await client.sends(post("once"))
    await upstream.gets(forwarded(post("once")))
    upstream.closes()
    assert (await client.gets_response()).status == 502
    assert talk.blue[0].is_unused()


@pytest.mark.parametrize(
    ("response", "got"),
    [
        (answer("one") + answer("two"), answer("one")),
        (answer("one") + "x", answer("one")),
        ("HTTP/1.1 204 No Content\n\n" + "body", "HTTP/1.1 204 No Content\n\n"),
        (
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n\n0\n\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n\n",
        ),
    ],
)
async def test_bytes_behind_a_response_reach_nobody(converse: Converse, response: str, got: str) -> None:
    talk = await converse()
    client, other = await talk.client(), await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(response)
    await client.gets(got)
    await upstream.gets_cut_off()
    await exchanged(talk, other)
    await exchanged(talk, client, talk.blue[0].peers[-1])


async def test_bytes_on_an_idle_connection_reach_nobody(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    upstream = await exchanged(talk, client)
    await upstream.sends(answer("stale"))
    await upstream.gets_cut_off()
    assert talk.kept(talk.blue[0]) == 0
    await exchanged(talk, client)


@pytest.mark.parametrize(
    ("response", "got"),
    [
        ("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 2\n\nok", answer("ok")),
        ("HTTP/1.0 200 OK\nContent-Length: 2\n\nok", answer("ok")),
    ],
)
async def test_a_connection_that_the_upstream_will_close_is_not_kept(
    converse: Converse, response: str, got: str
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(response)
    await client.gets(got)
    await upstream.gets_cut_off()
    assert talk.kept(talk.blue[0]) == 0
    await exchanged(talk, client)


async def test_no_more_connections_are_kept_than_the_limit_says(converse: Converse) -> None:
    talk = await converse(keepalive=Keepalive(connections=2))
    clients = [await talk.client() for _ in range(3)]
    for client in clients:
        await client.sends(get())
    upstreams = [await talk.blue[0].accepts() for _ in clients]
    for upstream in upstreams:
        await upstream.gets(forwarded(get()))
        await upstream.sends(answer())
    for client in clients:
        await client.gets(answer())
    assert talk.kept(talk.blue[0]) == 2


@pytest.mark.parametrize("settings", [Keepalive(idle_s=0.03), Keepalive(idle_s=60, age_s=0.05)])
async def test_a_connection_that_has_been_idle_for_long_or_is_old_is_closed(
    converse: Converse, settings: Keepalive
) -> None:
    talk = await converse(keepalive=settings)
    upstream = await exchanged(talk, await talk.client())
    await upstream.gets_end()
    assert talk.kept(talk.blue[0]) == 0


async def test_an_upstream_that_says_when_it_will_close_is_left_before(converse: Converse) -> None:
    """Keep-Alive: timeout=1 is no time for a request to come: the connection is not kept at all."""
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("ok", "Keep-Alive: timeout=1"))
    await client.gets(answer("ok"))
    await upstream.gets_cut_off()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("ok", "Keep-Alive: timeout=30"))
    await client.gets(answer("ok"))
    assert talk.kept(talk.blue[0]) == 1


async def test_what_an_upstream_says_of_one_connection_is_not_about_another(converse: Converse) -> None:
    talk = await converse()
    first, second = await talk.client(), await talk.client()
    await first.sends(get("/long"))
    leaving = await talk.blue[0].accepts()
    await leaving.gets(forwarded(get("/long")))
    begun, rest = answer("ok", "Keep-Alive: timeout=1"), "more"
    await leaving.sends(begun.replace("Content-Length: 2", "Content-Length: 6"))
    await first.gets(answer("ok").replace("Content-Length: 2", "Content-Length: 6"))
    staying = await exchanged(talk, second)
    await leaving.sends(rest)
    await first.gets(rest)
    await leaving.gets_cut_off()
    assert talk.kept(talk.blue[0]) == 1
    await exchanged(talk, second, staying)


async def test_a_put_that_is_too_large_to_be_sent_twice_is_sent_to_nobody_who_has_left(
    converse: Converse,
) -> None:
    """The loop learns of the request and of the end at once."""
    talk = await converse()
    client = await talk.client()
    upstream = await exchanged(talk, client)
    upload = post("b" * 100_000).replace("POST", "PUT")
    client.socket.send(upload.replace("\n", "\r\n").encode())
    upstream.closes()
    fresh = await talk.blue[0].accepts()
    await fresh.gets(forwarded(upload))
    await fresh.sends(answer("ok"))
    await client.gets(answer("ok"))
    assert talk.totals(talk.blue[0]).reset == 0


async def test_the_connections_to_a_removed_upstream_are_closed_and_none_is_kept(converse: Converse) -> None:
    talk = await converse(blue=2)
    client, other = await talk.client(), await talk.client()
    await client.sends(get("/long"))
    busy = await talk.blue[1].accepts()
    await busy.gets(forwarded(get("/long")))
    await other.sends(get())
    idle = await talk.blue[0].accepts()
    await idle.gets(forwarded(get()))
    await idle.sends(answer())
    await other.gets(answer())
    talk.publish(active=talk.pool("green"), idle=talk.pool("green"))
    talk.wake()
    await idle.gets_end()
    await busy.sends(answer("finished"))
    await client.gets(answer("finished"))
    await busy.gets_end()
