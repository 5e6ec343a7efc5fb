"""What a failing upstream costs: another try, an honest error, or a visible abort."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from bgproxy.model import Health, Retries, Timeouts
from bgproxy.proxy.upstream import UpstreamConnection
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get, post

FAR_S = 1000.0
CHUNKED_OK = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"


async def test_a_refused_connection_is_tried_on_another_upstream_even_for_a_post(converse: Converse) -> None:
    talk = await converse(blue=2)
    talk.blue[1].refuses()
    for _ in range(2):
        client = await talk.client()
        await client.sends(post("once"))
        upstream = await talk.blue[0].accepts()
        await upstream.gets(forwarded(post("once")))
        await upstream.sends("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 0\n\n")
        await client.gets(answer())
    assert talk.totals(talk.blue[1]).connect_failed == 2
    assert talk.totals(talk.blue[1]).retried == 2
    assert talk.totals(talk.blue[1]).requests == 0


async def test_every_upstream_is_tried_once_and_none_twice(converse: Converse) -> None:
    talk = await converse(blue=3)
    for upstream in talk.blue:
        upstream.refuses()
    client = await talk.client()
    await client.sends(get())
    refusal = await client.gets_response()
    assert (refusal.status, refusal.body) == (502, "502 Bad Gateway: no upstream could be connected to\n")
    assert [talk.totals(upstream).connect_failed for upstream in talk.blue] == [1, 1, 1]
    assert sum(talk.totals(upstream).responses[5] for upstream in talk.blue) == 1
    await client.sends(get())
    assert (await client.gets_response()).status == 502


async def test_no_more_retries_are_made_than_configured(converse: Converse) -> None:
    talk = await converse(blue=3, retries=Retries(attempts=1))
    for upstream in talk.blue:
        upstream.refuses()
    client = await talk.client()
    await client.sends(get())
    assert (await client.gets_response()).status == 502
    assert sum(talk.totals(upstream).connect_failed for upstream in talk.blue) == 2


async def test_a_pool_without_a_healthy_upstream_is_answered_503_with_a_time_to_retry(
    converse: Converse,
) -> None:
    talk = await converse()
    talk.publish(active=talk.pool("blue", Health.UNHEALTHY))
    client = await talk.client()
    await client.sends(get("/", "Accept: application/json"))
    refusal = await client.gets_response()
    assert refusal.status == 503
    assert refusal.fields["retry-after"] == "1"
    assert refusal.fields["content-type"] == "application/problem+json"
    assert talk.service_totals.responses[5] == 1
    talk.publish(active=talk.pool("blue"))
    await client.sends(get())
    await (await talk.blue[0].accepts()).gets(forwarded(get()))


@pytest.mark.parametrize("how", ["closes", "aborts"])
async def test_an_upstream_that_dies_before_it_answers_costs_a_get_nothing(
    converse: Converse, how: str
) -> None:
    talk = await converse(blue=2)
    client = await talk.client()
    await client.sends(get())
    first = await talk.blue[1].accepts()
    await first.gets(forwarded(get()))
    await first.sends("HTTP/1.1 200 OK\nContent-")
    getattr(first, how)()
    second = await talk.blue[0].accepts()
    await second.gets(forwarded(get()))
    await second.sends(answer("saved"))
    await client.gets(answer("saved"))
    assert talk.totals(talk.blue[1]).reset == 1


async def test_an_upstream_that_dies_before_it_answers_a_post_is_a_502(converse: Converse) -> None:
    talk = await converse(blue=2)
    client = await talk.client()
    await client.sends(post("once"))
    upstream = await talk.blue[1].accepts()
    await upstream.gets(forwarded(post("once")))
    upstream.closes()
    assert (await client.gets_response()).status == 502
    assert talk.blue[0].is_unused()
    assert talk.blue[1].is_unused()


async def test_a_put_that_is_being_uploaded_is_sent_again_from_its_beginning(converse: Converse) -> None:
    talk = await converse(blue=2)
    client = await talk.client()
    head = get("/", "Content-Length: 9", method="PUT")
    await client.sends(head + "123")
    first = await talk.blue[1].accepts()
    await first.gets(forwarded(head) + "123")
    await client.sends("456")
    await first.gets("456")
    first.aborts()
    second = await talk.blue[0].accepts()
    await second.gets(forwarded(head) + "123456")
    await client.sends("789")
    await second.gets("789")
    await second.sends(answer())
    await client.gets(answer())


async def test_what_is_too_large_to_keep_is_not_sent_again(converse: Converse) -> None:
    talk = await converse(blue=2)
    client = await talk.client()
    await client.sends(get("/", "Content-Length: 100000", method="PUT") + "a" * 99_999)
    upstream = await talk.blue[1].accepts()
    await upstream.gets_until(b"a" * 99_999)
    upstream.aborts()
    assert (await client.gets_response()).status == 502
    await client.gets_end()
    assert talk.blue[0].is_unused()


@pytest.mark.interpreted
async def test_a_connection_that_is_lost_as_soon_as_it_is_made_does_not_disturb_the_next_attempt(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop may say that it was lost before the attempt to make it has returned."""
    made = UpstreamConnection.connection_made

    def made_and_lost(connection: UpstreamConnection, transport: asyncio.BaseTransport) -> None:
        monkeypatch.setattr(UpstreamConnection, "connection_made", made)
        made(connection, transport)
        connection.connection_lost(ConnectionResetError())
        transport.close()

    talk = await converse(blue=3, timeouts=Timeouts(connect_s=FAR_S))
    talk.blue[2].refuses()
    monkeypatch.setattr(UpstreamConnection, "connection_made", made_and_lost)
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("saved"))
    await client.gets(answer("saved"))
    assert [talk.totals(each).connect_failed for each in talk.blue] == [0, 0, 1]


@pytest.mark.parametrize(
    "response",
    [
        "nonsense\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\na",
        "HTTP/1.1 200 OK\nContent-Length: 1\nTransfer-Encoding: chunked\n\n0\n\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n",
        "HTTP/2 200 OK\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: surprise\n\n",
        "HTTP/1.1 200 OK\nX: " + "a" * 70_000 + "\n\n",
        "HTTP/1.1 103 Early Hints\n\n" * 17,
    ],
)
async def test_a_response_that_cannot_be_read_is_a_502_and_never_reaches_the_client(
    converse: Converse, response: str | bytes
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(post("once"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(post("once")))
    with suppress(ConnectionResetError, BrokenPipeError):
        await upstream.sends(response)
    await client.gets("HTTP/1.1 103 Early Hints\n\n" * (16 if "103" in str(response[:20]) else 0))
    assert (await client.gets_response()).status == 502
    await upstream.gets_cut_off()
    assert talk.totals(talk.blue[0]).invalid == 1


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 9\n\nabc", "HTTP/1.1 200 OK\nContent-Length: 9\n\nabc"),
        (CHUNKED_OK + "3\nabc\n", CHUNKED_OK + "3\nabc\n"),
        (CHUNKED_OK + "9\nabc", CHUNKED_OK + "9\nabc"),
        (CHUNKED_OK + "3\nabc\n0\n", CHUNKED_OK + "3\nabc\n0\n"),
    ],
)
@pytest.mark.parametrize("how", ["closes", "aborts"])
async def test_an_upstream_that_dies_in_mid_body_is_seen_as_an_abort(
    converse: Converse, sent: str, got: str, how: str
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(sent)
    await client.gets(got.removesuffix("0\n"))
    getattr(upstream, how)()
    assert await client.gets_abort() in (b"", b"0\r\n")
    assert talk.totals(talk.blue[0]).reset == 1
    assert talk.totals(talk.blue[0]).responses[2] == 1


async def test_a_close_delimited_response_that_is_reset_has_no_last_chunk(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\n\nabc")
    await client.gets(CHUNKED_OK + "3\nabc\n")
    upstream.aborts()
    assert await client.gets_abort() == b""


@pytest.mark.parametrize(
    "response", ["HTTP/1.1 200 OK\n\nabc", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n"]
)
async def test_http_1_0_cannot_take_a_truncated_response_for_a_whole_one(
    converse: Converse, response: str
) -> None:
    """Its only sign of the end is the close, so that has to be a reset."""
    talk = await converse()
    client = await talk.client()
    await client.sends(get(version="1.0"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(response)
    await client.gets("HTTP/1.1 200 OK\nConnection: close\n\nabc")
    upstream.aborts()
    assert await client.gets_abort() == b""


async def test_a_malformed_chunk_in_a_response_is_an_abort(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(CHUNKED_OK + "3\nabc\n")
    await client.gets(CHUNKED_OK + "3\nabc\n")
    await upstream.sends("zz\n")
    assert await client.gets_abort() == b""
    assert talk.totals(talk.blue[0]).invalid == 1


async def test_the_budget_bounds_the_retries_of_a_pool_that_resets_connections(converse: Converse) -> None:
    """Ten at once, and none after them if no share of the requests may be retried."""
    talk = await converse(blue=2, retries=Retries(attempts=1, budget=0.0))
    client = await talk.client()
    for number in range(11):
        await client.sends(get())
        for upstream in (talk.blue[1], talk.blue[0])[: 2 if number < 10 else 1]:
            peer = await upstream.accepts()
            await peer.gets(forwarded(get()))
            peer.aborts()
        assert (await client.gets_response()).status == 502
    assert sum(talk.totals(upstream).retried for upstream in talk.blue) == 10
