"""What the client gets of a response besides what the upstream sent."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest

from bgproxy.http1.head import ResponseHead
from bgproxy.model import Canary
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get

ADD_DATE = ResponseHead.add_date


@pytest.mark.interpreted
@pytest.mark.parametrize(
    "response",
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ],
)
async def test_a_response_without_a_date_gets_one(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, response: str
) -> None:
    """RFC 9110 section 6.6.1; and the same response gets another one when time has passed."""
    talk = await converse()
    monkeypatch.setattr(ResponseHead, "add_date", ADD_DATE)
    client = await talk.client()
    dates: set[datetime] = set()
    upstream = None
    while len(dates) < 2:
        await client.sends(get())
        upstream = upstream or await talk.blue[0].accepts()
        await upstream.gets(forwarded(get()))
        await upstream.sends(response.encode())
        head = (await client.gets_until(b"\r\n\r\n")).decode()
        await client.gets_bytes(len(response.partition("\r\n\r\n")[2]))
        (date,) = [line for line in head.split("\r\n") if line.startswith("Date: ")]
        dates.add(parsedate_to_datetime(date.removeprefix("Date: ")))
        assert head.replace(date + "\r\n", "") == response.partition("\r\n\r\n")[0] + "\r\n\r\n"


@pytest.mark.interpreted
async def test_a_request_that_outlives_a_change_gets_the_date_of_its_response(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of its pool, which is the pool of before, has to become old as well."""
    talk = await converse()
    monkeypatch.setattr(ResponseHead, "add_date", ADD_DATE)
    clients = [await talk.client() for _ in range(2)]
    upstreams = []
    for client in clients:
        await client.sends(get())
        upstreams.append(await talk.blue[0].accepts())
        await upstreams[-1].gets(forwarded(get()))
    talk.publish(canary=Canary(weight=1))
    talk.wake()
    for client, upstream in zip(clients, upstreams, strict=True):
        now = talk.plane.date
        await talk.until(lambda: talk.plane.date != now, "another second has begun")  # noqa: B023
        await upstream.sends("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
        assert talk.plane.date in await client.gets_until(b"ok")


@pytest.mark.interpreted
async def test_a_date_that_the_upstream_sent_stays(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = await converse()
    monkeypatch.setattr(ResponseHead, "add_date", ADD_DATE)
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    dated = answer("ok", "dATE: Fri, 20 Nov 2026 06:43:15 GMT")
    await upstream.sends(dated)
    await client.gets(dated)


async def test_a_426_tells_the_client_what_to_upgrade_to(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("", "Upgrade: TLS/1.3", "Connection: upgrade", status="426 Upgrade Required"))
    await client.gets(answer("", "Upgrade: tls/1.3", "Connection: Upgrade", status="426 Upgrade Required"))


@pytest.mark.interpreted
async def test_the_last_response_of_a_connection_has_a_date_too(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = await converse()
    monkeypatch.setattr(ResponseHead, "add_date", ADD_DATE)
    upstream = None
    dates: set[str] = set()
    while len(dates) < 2:
        client = await talk.client()
        await client.sends(get("/", "Connection: close"))
        upstream = upstream or await talk.blue[0].accepts()
        await upstream.gets(forwarded(get()))
        await upstream.sends("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
        status, length, date, *rest = (await client.gets_until(b"ok")).decode().split("\r\n")
        assert (status, length) == ("HTTP/1.1 200 OK", "Content-Length: 2")
        assert date.startswith("Date: ")
        assert rest == ["Connection: close", "", "ok"]
        await client.gets_end()
        dates.add(date)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_a_request_reaches_as_many_hops_as_it_may(converse: Converse, method: str) -> None:
    """RFC 9110 section 7.6.2."""
    talk = await converse()
    client = await talk.client()
    upstream = None
    for hops, left in ((3, 2), (3, 2), (1, 0)):
        await client.sends(get("/", f"Max-Forwards: {hops}", method=method))
        upstream = upstream or await talk.blue[0].accepts()
        await upstream.gets(get("/", f"Max-Forwards: {left}", method=method))
        await upstream.sends(answer())
        await client.gets(answer())
    await client.sends(get("/", "Max-Forwards: 0", method=method))
    assert (await client.gets_response()).status == 501
    assert upstream is not None
    assert upstream.has_nothing()


async def test_upstreams_that_say_the_same_share_what_was_made_of_it(converse: Converse) -> None:
    talk = await converse(blue=2)
    client = await talk.client()
    said = [answer("same"), answer("same"), answer("another"), answer("same")]
    shared = []
    for number, response in enumerate(said):
        upstream = talk.blue[1 - number % 2]
        await client.sends(get())
        peer = upstream.peers[0] if upstream.peers else await upstream.accepts()
        await peer.gets(forwarded(get()))
        await peer.sends(response)
        await client.gets(response)
        first, second = (talk.plane.table.upstreams[each.place[1]].response_memo for each in talk.blue)
        shared.append(first is second)
    assert shared == [False, True, False, False]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_every_connection_of_a_client_may_reach_as_many_hops(converse: Converse, method: str) -> None:
    """What a connection began with is remembered, but not how far it came."""
    talk = await converse()
    upstream = None
    for hops, left in ((3, 2), (3, 2), (1, 0), (3, 2)):
        client = await talk.client()
        await client.sends(get("/", f"Max-Forwards: {hops}", method=method))
        upstream = upstream or await talk.blue[0].accepts()
        await upstream.gets(get("/", f"Max-Forwards: {left}", method=method))
        await upstream.sends(answer())
        await client.gets(answer())
    for _ in range(2):
        client = await talk.client()
        await client.sends(get("/", "Max-Forwards: 0", method=method))
        assert (await client.gets_response()).status == 501
