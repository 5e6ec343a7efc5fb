"""A client's connection: one request after the other, refusals that can be read, and its end."""

from __future__ import annotations

import asyncio

import pytest

from bgproxy.model import HeadLimits, Timeouts
from bgproxy.proxy import limits
from tests.proxy.conftest import Converse
from tests.support.conversation import Conversation, answer, forwarded, get, post
from tests.support.peers import wire

NOWHERE = "GET / HTTP/1.1\nHost: nowhere\n\n"


async def completed(talk: Conversation, count: int) -> None:
    """Returns when so many responses have been read to their ends."""
    await talk.until(lambda: talk.totals(talk.blue[0]).responses[2] == count, "they are complete")


async def test_requests_that_come_together_are_answered_in_their_order(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/1") + post("two") + NOWHERE + get("/4"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/1")))
    assert upstream.has_nothing()
    await upstream.sends(answer("1"))
    await client.gets(answer("1"))
    await upstream.gets(forwarded(post("two")))
    await upstream.sends(answer("2"))
    await client.gets(answer("2"))
    assert (await client.gets_response()).status == 404
    await upstream.gets(forwarded(get("/4")))
    await upstream.sends(answer("4"))
    await client.gets(answer("4"))


async def test_requests_that_come_while_one_is_answered_wait_for_their_turn(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/1"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/1")))
    await client.sends(get("/2"))
    await client.sends(get("/3")[:10])
    await upstream.sends(answer("1"))
    await client.gets(answer("1"))
    await upstream.gets(forwarded(get("/2")))
    await upstream.sends(answer("2"))
    await client.gets(answer("2"))
    await client.sends(get("/3")[10:])
    await upstream.gets(forwarded(get("/3")))


async def test_thousands_of_pipelined_requests_are_all_answered(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(NOWHERE * 3000)
    for _ in range(3000):
        assert (await client.gets_response()).status == 404
    assert talk.unrouted.responses[4] == 3000


async def test_pipelined_requests_are_all_answered_to_a_client_that_half_closes(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(NOWHERE * 5)
    client.half_closes()
    for _ in range(5):
        assert (await client.gets_response()).status == 404
    await client.gets_end()


async def test_a_client_that_half_closes_gets_its_response_and_then_the_end(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    client.half_closes()
    await upstream.sends("HTTP/1.1 200 OK\nContent-Length: 10\n\n12345")
    await client.gets("HTTP/1.1 200 OK\nContent-Length: 10\n\n12345")
    await upstream.sends("67890")
    await client.gets("67890")
    await client.gets_end()


async def test_a_client_that_closes_within_a_head_is_gone_at_once(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends("GET / HTTP/1.1\nHost:")
    client.half_closes()
    await client.gets_end()


async def test_a_head_may_come_byte_by_byte(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    for byte in get("/slow").replace("\n", "\r\n").encode():
        await client.sends(bytes([byte]))
    await (await talk.blue[0].accepts()).gets(forwarded(get("/slow")))


async def test_an_idle_connection_keeps_nothing_of_a_large_head(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    downstream = talk.downstream
    large = get("/", "X: " + "a" * limits.MEMO_BYTES)
    for request, is_kept in ((get(), True), (large, False), (large, False), (get(), True)):
        await client.sends(request)
        upstream = await talk.blue[0].accepts() if not talk.blue[0].peers else talk.blue[0].peers[0]
        await upstream.gets(forwarded(request))
        await upstream.sends(answer())
        await client.gets(answer())
        assert bool(downstream._head) == bool(downstream.outgoing) == is_kept


async def test_one_empty_line_in_front_of_a_request_is_ignored(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends("\n" + get("/1"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/1")))
    await upstream.sends(answer())
    await client.gets(answer())
    await client.sends("\n")
    await client.sends(get("/2"))
    await upstream.gets(forwarded(get("/2")))


async def test_many_empty_lines_are_refused(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends("\n" * 20_000)
    assert (await client.gets_response()).status == 400
    await client.gets_end()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: app\r\nBad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET /" + b"a" * HeadLimits().request_line_bytes + b" HTTP/1.1\r\nHost: app\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: app\r\nX: " + b"a" * HeadLimits().header_block_bytes + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"CONNECT app:443 HTTP/1.1\r\nHost: app\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused_and_its_sender_can_read_why(
    converse: Converse, request_bytes: bytes, status: int
) -> None:
    """Although it goes on sending: a close with bytes unread would throw the answer away."""
    talk = await converse()
    client = await talk.client()
    await client.sends(request_bytes)
    await talk.until(lambda: not client.has_nothing(), "the request is refused")
    await client.sends(b"more" * 20_000)
    refusal = await client.gets_response()
    assert refusal.status == status
    assert refusal.fields["connection"] == "close"
    await client.gets_end()
    assert talk.blue[0].is_unused()
    assert talk.unrouted.responses[status // 100] == 1


async def test_a_client_that_never_stops_sending_is_cut_off(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINGER_S", 0.03)
    talk = await converse()
    client = await talk.client()
    await client.sends("nonsense\n\n")
    assert (await client.gets_response()).status == 400
    await talk.until(lambda: not talk.plane.downstreams, "the connection is cut off")


async def test_a_malformed_chunk_in_mid_body_is_refused_and_the_upstream_sees_no_end(
    converse: Converse,
) -> None:
    talk = await converse()
    client = await talk.client()
    head = get("/", "Transfer-Encoding: chunked", method="POST")
    await client.sends(head + "3\nabc\n")
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(head) + "3\nabc\n")
    await client.sends("zz\n")
    assert (await client.gets_response()).status == 400
    assert await upstream.gets_cut_off() == b""
    assert talk.totals(talk.blue[0]).responses[4] == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/problem+json"),
        ("text/html, */*", "text/plain; charset=utf-8"),
    ],
)
async def test_an_error_is_json_for_programs_and_text_for_people(
    converse: Converse, accept: str, content_type: str
) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(f"GET / HTTP/1.1\nHost: nowhere\nAccept: {accept}\n\n")
    refusal = await client.gets_response()
    assert refusal.fields["content-type"] == content_type
    assert "no service is configured" in refusal.body


async def test_an_error_to_http_1_0_closes_the_connection(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends("GET / HTTP/1.0\nHost: nowhere\nConnection: keep-alive\n\n")
    refusal = await client.gets_response()
    assert refusal.fields["connection"] == "close"
    await client.gets_end()


async def test_an_error_to_a_head_request_has_no_body(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends("HEAD / HTTP/1.1\nHost: nowhere\n\n")
    assert b" 404 " in await client.gets_until(b"\r\n\r\n")
    await client.sends(NOWHERE)
    await client.gets("HTTP/1.1 404")


async def test_a_head_that_does_not_come_in_time_is_answered_408(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(request_head_s=0.03))
    client = await talk.client()
    await client.sends("GET / HTTP/1.1\nHost: ")
    assert (await client.gets_response()).status == 408
    await client.gets_end()


async def test_a_second_head_has_as_long_as_the_first(converse: Converse) -> None:
    """It came in part behind the first request, on a connection whose idle timeout is far away."""
    talk = await converse(timeouts=Timeouts(request_head_s=0.05))
    client = await talk.client()
    await client.sends(NOWHERE + "GET / HTTP/1.1\nHost: ")
    assert (await client.gets_response()).status == 404
    assert (await client.gets_response()).status == 408


async def test_a_connection_that_says_nothing_is_closed_without_a_word(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(request_head_s=0.03))
    await (await talk.client()).gets_end()


async def test_an_idle_connection_is_closed(converse: Converse) -> None:
    talk = await converse(timeouts=Timeouts(idle_s=0.03))
    client = await talk.client()
    await client.sends(NOWHERE)
    assert (await client.gets_response()).status == 404
    await client.gets_end()


async def test_a_client_that_never_reads_its_response_does_not_stay_for_ever(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINGER_S", 0.03)
    talk = await converse(timeouts=Timeouts(idle_s=0.2))
    client = await talk.client(slow=True)
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("a" * 60_000))
    await completed(talk, 1)
    await talk.until(lambda: not talk.plane.downstreams, "the connection is cut off")


async def test_a_client_that_sends_requests_and_reads_nothing_is_not_read_from_either(
    converse: Converse,
) -> None:
    """Its answers are in memory, so their number must be bounded."""
    talk = await converse()
    client = await talk.client(slow=True)
    count = 5_000
    pouring = asyncio.ensure_future(client.pours((NOWHERE * count).replace("\n", "\r\n").encode()))
    await talk.until(lambda: talk.buffered_bytes > 0, "the kernel takes no more answers")
    await talk.until_stuck(lambda: talk.unrouted.responses[4])
    assert talk.buffered_bytes < 256 * 1024
    for _ in range(count):
        assert (await client.gets_response()).status == 404
    await pouring


@pytest.mark.parametrize("framing", ["length", "length in pieces", "chunked"])
@pytest.mark.parametrize("pipelined", [True, False])
async def test_a_client_that_reads_nothing_gets_no_more_responses(
    converse: Converse, framing: str, pipelined: bool
) -> None:
    """And the connection that its last one came by serves others."""
    talk = await converse()
    client = await talk.client(slow=True)
    downstream = talk.downstream
    other = await talk.client()
    head, body = answer("a" * 8000).split("\n\n")
    if framing == "chunked":
        head, body = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked", f"1f40\n{body}\n0\n\n"
    requests = [get(f"/{number}") for number in range(20)]
    await client.sends("".join(requests) if pipelined else requests[0])
    upstream = await talk.blue[0].accepts()
    count = 0
    while not downstream._full:
        await upstream.gets(forwarded(requests[count]))
        if framing == "length":
            await upstream.sends(f"{head}\n\n{body}")
        else:
            await upstream.sends(f"{head}\n\n")
            await talk.until(lambda: getattr(downstream.user, "response", None), "the head is relayed")
            await upstream.sends(body)
        count += 1
        await completed(talk, count)
        if not pipelined:
            await client.sends(requests[count])
    await other.sends(get("/other"))
    await upstream.gets(forwarded(get("/other")))
    await upstream.sends(answer("other"))
    await other.gets(answer("other"))
    assert upstream.has_nothing()
    await client.gets(f"{head}\n\n{body}" * count)
    await upstream.gets(forwarded(requests[count]))
    await upstream.sends(answer("read again"))
    await client.gets(answer("read again"))


async def test_a_pipelined_request_of_a_client_that_has_just_left_is_not_begun(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get("/1") + get("/2"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/1")))
    # No await in between, so that the loop hears of both at once.
    client.aborts()
    upstream.socket.send(wire(answer("1")))
    await talk.until(lambda: not talk.plane.downstreams, "the client has left")
    await talk.sweeps()
    assert upstream.has_nothing() or await upstream.gets_cut_off() == b""
    assert talk.totals(talk.blue[0]).requests == 1


async def test_nothing_is_done_about_what_comes_behind_the_last_request(converse: Converse) -> None:
    """Even if the response to that one takes its time to leave."""
    talk = await converse()
    client = await talk.client(slow=True)
    await client.sends(get("/last", "Connection: close"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/last")))
    await client.sends(get("/too-late"))
    downstream = talk.downstream
    await talk.until(lambda: downstream._buffer, "it has come")
    await upstream.sends(answer("a" * 80_000))
    await completed(talk, 1)
    await client.gets(answer("a" * 80_000, "Connection: close"))
    await client.gets_end()
    assert upstream.has_nothing()
    assert talk.kept(talk.blue[0]) == 1


async def test_a_client_beyond_what_there_are_descriptors_for_is_told_so(converse: Converse) -> None:
    talk = await converse()
    talk.plane.max_connections = 1
    first = await talk.client()
    await talk.until(lambda: len(talk.plane.downstreams) == 1, "the first is there")
    second = await talk.client()
    refused = await second.gets_response()
    assert refused.status == 503
    await second.gets_end()
    second.closes()
    await first.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("hello"))
    await first.gets(answer("hello"))


async def test_a_client_that_has_gone_before_it_was_accepted_asks_nothing(converse: Converse) -> None:
    """It has no address any more, and would pass for one on a unix socket."""
    talk = await converse()
    talk.stop_listening()
    client = await talk.client(accepted=False)
    await client.sends(post("x"))
    client.aborts()
    await talk.listen("public")
    other = await talk.client()
    await other.sends(get("/other"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get("/other")))
    await upstream.sends(answer())
    await other.gets(answer())
    assert len(talk.blue[0].peers) == 1
