"""What stands between a request and an upstream where a service has more than a route."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from bgproxy.model import ErrorPage, Hold, Limits, Maintenance, Outlier, Preview, Retries, Timeouts
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get, post

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")
AT_MOST_10 = Limits(request_body_bytes=10)
SECRET = Preview(header="X-Preview", secret="s3cret")


@pytest.mark.parametrize("request_", [post("a" * 11), CHUNKED + "b\n" + "a" * 11 + "\n0\n\n"])
async def test_a_body_that_is_too_large_is_refused_before_an_upstream_sees_it(
    converse: Converse, request_: str
) -> None:
    talk = await converse(limits=AT_MOST_10)
    client = await talk.client()
    await client.sends(request_)
    assert (await client.gets_response()).status == 413
    assert talk.blue[0].is_unused()


async def test_a_body_that_turns_out_to_be_too_large_is_cut_off(converse: Converse) -> None:
    talk = await converse(limits=AT_MOST_10)
    client = await talk.client()
    await client.sends(CHUNKED)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(CHUNKED))
    await client.sends("5\nhello\n")
    await upstream.gets("5\nhello\n")
    await client.sends("5\nworld\n")
    assert (await client.gets_response()).status == 413
    await upstream.gets_cut_off()


async def test_a_body_of_just_the_size_passes(converse: Converse) -> None:
    talk = await converse(limits=AT_MOST_10)
    client = await talk.client()
    await client.sends(post("a" * 10))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(post("a" * 10)))
    await upstream.sends(answer())
    await client.gets(answer())


async def test_in_a_maintenance_clients_are_told_to_come_again(converse: Converse) -> None:
    talk = await converse(maintenance=Maintenance(60, "back at noon"))
    client = await talk.client()
    await client.sends(get())
    response = await client.gets_response()
    assert (response.status, response.fields["retry-after"]) == (503, "60")
    assert "back at noon" in response.body


@pytest.mark.parametrize(
    "stopped",
    [{"maintenance": Maintenance()}, {"hold": Hold(1, inf, 100, 1_000_000)}],
    ids=["maintenance", "hold"],
)
@pytest.mark.parametrize("by", ["listener", "header"])
async def test_previews_pass_by_a_maintenance_and_a_hold(
    converse: Converse, stopped: dict[str, object], by: str
) -> None:
    talk = await converse(preview=SECRET, **stopped)
    client = await talk.client("preview" if by == "listener" else "public")
    await client.sends(get("/", "X-Preview: s3cret") if by == "header" else get())
    upstream = await talk.green[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer())
    await client.gets(answer())


async def test_a_page_of_the_operator_stands_for_an_error(converse: Converse) -> None:
    page = ErrorPage((503,), "text/html", "<h1>{status} {detail}</h1>")
    talk = await converse(maintenance=Maintenance(1, "a < b"), error_pages=(page,))
    client = await talk.client()
    await client.sends(get("/", "Accept: text/html"))
    response = await client.gets_response()
    assert response.body == "<h1>503 a &lt; b</h1>"


async def test_an_idempotency_key_makes_a_post_safe_to_repeat_if_configured(converse: Converse) -> None:
    request = post("order", "Idempotency-Key: 7", "Connection: Idempotency-Key")
    kept = forwarded(request, without="Connection: Idempotency-Key")
    for configured in (True, False):
        talk = await converse(blue=2, retries=Retries(idempotency_key=configured))
        client = await talk.client()
        await client.sends(request)
        first, second = talk.blue[1], talk.blue[0]
        upstream = await first.accepts()
        await upstream.gets(kept)
        upstream.aborts()
        if configured:
            upstream = await second.accepts()
            await upstream.gets(kept)
            await upstream.sends(answer("done"))
            await client.gets(answer("done"))
        else:
            assert (await client.gets_response()).status == 502
            assert second.is_unused()


async def test_a_client_that_announces_a_body_and_waits_ejects_nobody(converse: Converse) -> None:
    talk = await converse(
        blue=2,
        timeouts=Timeouts(request_body_s=0.1),
        outlier=Outlier(consecutive_failures=1, max_ejected=1.0),
    )
    client = await talk.client()
    await client.sends(get("/", "Expect: 100-continue", "Content-Length: 5", method="POST"))
    await talk.blue[1].accepts()
    assert (await client.gets_response()).status == 504
    assert talk.totals(talk.blue[1]).ejections == 0


async def test_a_client_is_read_again_after_an_answer_that_came_early(converse: Converse) -> None:
    """The upstream answered before it had read the request; the client's next one must not wait for ever."""
    talk = await converse(retries=Retries(body_bytes=64 * 1024 * 1024), timeouts=Timeouts(idle_s=60.0))
    client = await talk.client()
    body = "a" * 8_000_000
    pouring = asyncio.ensure_future(client.sends(post(body)))
    upstream = await talk.blue[0].accepts()
    await talk.until(lambda: talk.downstream.choked, "the upstream is full")
    await upstream.sends(answer("early"))
    head = await client.gets_until(b"early")
    await pouring
    await client.sends(get("/next"))
    if b"Connection: close" not in head:
        await upstream.gets_until(b"GET /next HTTP/1.1\r\nHost: app\r\n\r\n")
        await upstream.sends(answer("next"))
        await client.gets(answer("next"))
