"""Every phase of a request has a deadline, and what it costs to miss it depends on whose fault it was."""

from __future__ import annotations

import asyncio
import socket

import pytest

from bgproxy.model import Outlier, Timeouts
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get, post
from tests.support.peers import ScriptedUpstream

CHUNKED_OK = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"
SHORT_S = 0.1


def fill_backlog(upstream: ScriptedUpstream) -> list[socket.socket]:
    """Makes the kernel drop further connection attempts, as a host that does not answer does."""
    upstream.socket.listen(0)
    waiting = []
    for _ in range(2):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(upstream.socket.getsockname())
        waiting.append(sock)
    return waiting


async def test_an_upstream_that_cannot_be_connected_to_in_time_is_replaced_by_another(
    converse: Converse,
) -> None:
    talk = await converse(blue=2, timeouts=Timeouts(connect_s=SHORT_S))
    waiting = fill_backlog(talk.blue[1])
    client = await talk.client()
    await client.sends(post("once"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(post("once")))
    await upstream.sends(answer("saved"))
    await client.gets(answer("saved"))
    assert talk.totals(talk.blue[1]).connect_failed == 1
    for sock in waiting:
        sock.close()


async def test_a_connect_timeout_without_another_upstream_is_a_502(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(connect_s=SHORT_S))
    waiting = fill_backlog(talk.blue[0])
    client = await talk.client()
    await client.sends(get())
    assert (await client.gets_response()).status == 502
    for sock in waiting:
        sock.close()


async def test_no_other_upstream_is_tried_when_the_total_time_is_over(converse: Converse) -> None:
    talk = await converse(blue=2, timeouts=Timeouts(connect_s=60.0, total_s=SHORT_S))
    waiting = fill_backlog(talk.blue[1])
    client = await talk.client()
    await client.sends(get())
    assert (await client.gets_response()).status == 502
    assert talk.blue[0].is_unused()
    for sock in waiting:
        sock.close()


async def test_a_body_that_stops_coming_is_answered_408_and_the_upstream_sees_no_end(
    converse: Converse,
) -> None:
    talk = await converse(timeouts=Timeouts(request_body_s=SHORT_S))
    client = await talk.client()
    head = get("/", "Content-Length: 9", method="POST")
    await client.sends(head + "123")
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head) + "123")
    refusal = await client.gets_response()
    assert (refusal.status, refusal.fields["connection"]) == (408, "close")
    await client.gets_end()
    assert await upstream.gets_cut_off() == b""


async def test_a_body_that_the_upstream_does_not_read_is_not_the_clients_fault(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(request_body_s=SHORT_S))
    client = await talk.client()
    body = b"a" * 30_000_000
    await client.sends(get("/", f"Content-Length: {len(body)}", method="POST"))
    upstream = await talk.blue[0].accepts()
    pouring = asyncio.ensure_future(client.pours(body))
    assert (await client.gets_response()).status == 504
    await asyncio.gather(pouring, return_exceptions=True)
    assert talk.totals(talk.blue[0]).timed_out == 1
    assert not upstream.has_nothing()


@pytest.mark.parametrize(
    ("given", "sent", "status"), [("", "", 504), ("HTTP/1.1 100 Continue\n\n", "", 408), ("", "123", 408)]
)
async def test_a_body_that_the_upstream_has_not_asked_for_is_not_the_clients_fault(
    converse: Converse, given: str, sent: str, status: int
) -> None:
    talk = await converse(timeouts=Timeouts(request_body_s=SHORT_S))
    client = await talk.client()
    await client.sends(get("/", "Content-Length: 9", "Expect: 100-continue", method="POST") + sent)
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"\r\n\r\n")
    await upstream.sends(given)
    await client.gets(given)
    assert (await client.gets_response()).status == status
    await client.gets_end()
    assert talk.totals(talk.blue[0]).timed_out == (status == 504)


async def test_progress_of_a_body_puts_the_deadline_off(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(request_body_s=1.0))
    client = await talk.client()
    await client.sends(get("/", "Content-Length: 10", method="POST"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"\r\n\r\n")
    started = talk.plane.now
    for _ in range(6):
        await talk.until_later(0.2)
        await client.sends("a")
        await upstream.gets("a")
    assert talk.plane.now - started > 1.0
    await client.sends("last")
    await upstream.gets("last")
    await upstream.sends(answer())
    await client.gets(answer())


@pytest.mark.parametrize("request_text", [get(), post("once")])
async def test_an_upstream_that_does_not_answer_in_time_is_a_504_and_not_asked_again(
    converse: Converse, request_text: str
) -> None:
    """Another try would take as long again, and the work may have been done."""
    talk = await converse(blue=2, timeouts=Timeouts(response_head_s=SHORT_S))
    client = await talk.client()
    await client.sends(request_text)
    upstream = await talk.blue[1].accepts()
    await upstream.gets(forwarded(request_text))
    assert (await client.gets_response()).status == 504
    await upstream.gets_cut_off()
    assert talk.blue[0].is_unused()
    assert talk.totals(talk.blue[1]).timed_out == 1
    assert talk.totals(talk.blue[1]).responses[5] == 1
    await client.sends(get("/next"))
    await (await talk.blue[0].accepts()).gets(forwarded(get("/next")))


async def test_a_response_that_stalls_is_an_abort(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(idle_s=SHORT_S))
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(CHUNKED_OK + "3\nabc\n")
    await client.gets(CHUNKED_OK + "3\nabc\n")
    assert await client.gets_abort() == b""
    await upstream.gets_cut_off()
    assert talk.totals(talk.blue[0]).timed_out == 1


async def test_the_total_time_ends_a_response_that_never_stalls(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(total_s=0.2))
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(CHUNKED_OK)
    await client.gets(CHUNKED_OK)

    async def drips() -> None:
        while True:
            await upstream.sends("1\na\n")
            await client.gets("1\na\n")

    with pytest.raises((AssertionError, ConnectionResetError, BrokenPipeError)):
        await drips()
    assert talk.totals(talk.blue[0]).timed_out == 1


async def test_a_new_request_has_deadlines_of_its_own(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(total_s=0.4))
    client = await talk.client()
    upstream = None
    started = talk.plane.now
    while talk.plane.now < started + 0.5:
        await client.sends(get())
        upstream = upstream or await talk.blue[0].accepts()
        await upstream.gets(forwarded(get()))
        await upstream.sends(answer())
        await client.gets(answer())


async def test_a_client_that_does_not_read_is_not_the_fault_of_its_upstream(converse: Converse) -> None:
    talk = await converse(
        timeouts=Timeouts(idle_s=0.1), outlier=Outlier(consecutive_failures=1, max_ejected=1.0), blue=2
    )
    client = await talk.client(slow=True)
    await client.sends(get())
    upstream = await talk.blue[1].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends("HTTP/1.1 200 OK\nContent-Length: 9000000\n\n")
    pouring = asyncio.ensure_future(upstream.pours(b"a" * 8_000_000))
    await talk.until(lambda: talk.in_flight == 0, "the request is given up")
    await asyncio.gather(pouring, return_exceptions=True)
    totals = talk.totals(talk.blue[1])
    assert (totals.timed_out, totals.ejections) == (0, 0)
