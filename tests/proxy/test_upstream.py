"""What an upstream's connection may be, beyond TCP on the same host."""

from __future__ import annotations

from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get, post


async def test_an_upstream_may_be_a_unix_socket(converse: Converse) -> None:
    talk = await converse(unix_upstreams=True)
    client = await talk.client()
    for request in (get("/1"), post("two")):
        await client.sends(request)
        upstream = talk.blue[0].peers[0] if talk.blue[0].peers else await talk.blue[0].accepts()
        await upstream.gets(forwarded(request))
        await upstream.sends(answer("ok"))
        await client.gets(answer("ok"))


async def test_a_unix_socket_that_nobody_listens_on_is_replaced_by_another_upstream(
    converse: Converse,
) -> None:
    talk = await converse(blue=2, unix_upstreams=True)
    talk.blue[1].refuses()
    client = await talk.client()
    await client.sends(post("once"))
    await (await talk.blue[0].accepts()).gets(forwarded(post("once")))
    assert talk.totals(talk.blue[1]).connect_failed == 1


async def test_a_unix_upstream_that_dies_in_mid_body_is_seen_as_an_abort(converse: Converse) -> None:
    talk = await converse(unix_upstreams=True)
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\nContent-Length: 9\n\nabc")
    await client.gets("HTTP/1.1 200 OK\nContent-Length: 9\n\nabc")
    upstream.closes()
    assert await client.gets_abort() == b""


async def test_an_upstream_that_half_closes_behind_its_response_is_not_asked_again(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("last"))
    upstream.half_closes()
    await client.gets(answer("last"))
    await upstream.gets_cut_off()
    await client.sends(get("/next"))
    await (await talk.blue[0].accepts()).gets(forwarded(get("/next")))
