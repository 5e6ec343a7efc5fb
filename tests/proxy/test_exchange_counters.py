"""A request is counted once, for the upstream that answered or failed last, when it has ended."""

from __future__ import annotations

import pytest

from bgproxy.proxy import books, exchange
from bgproxy.shared_memory.counters import LATENCY_BOUNDS_US, bucket_of
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get


@pytest.mark.parametrize(
    ("status", "status_class"),
    [("200 OK", 2), ("301 Moved Permanently", 3), ("404 Not Found", 4), ("500 Internal Server Error", 5)],
)
async def test_a_response_is_counted_by_its_class(converse: Converse, status: str, status_class: int) -> None:
    talk = await converse()
    client = await talk.client()
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    assert (talk.totals(talk.blue[0]).in_flight, talk.totals(talk.blue[0]).requests) == (1, 0)
    await upstream.sends("HTTP/1.1 103 Early Hints\n\n" + answer(status=status))
    await client.gets("HTTP/1.1 103 Early Hints\n\n" + answer(status=status))
    totals = talk.totals(talk.blue[0])
    assert (totals.in_flight, totals.requests, totals.responses[status_class]) == (0, 1, 1)
    assert talk.service_totals.requests == 0


async def test_a_retried_request_is_one_request_of_the_upstream_that_answered(converse: Converse) -> None:
    talk = await converse(blue=2)
    client = await talk.client()
    await client.sends(get())
    first = await talk.blue[1].accepts()
    await first.gets(forwarded(get()))
    first.aborts()
    second = await talk.blue[0].accepts()
    await second.gets(forwarded(get()))
    assert [talk.totals(upstream).in_flight for upstream in talk.blue] == [1, 0]
    await second.sends(answer())
    await client.gets(answer())
    failed, saved = talk.totals(talk.blue[1]), talk.totals(talk.blue[0])
    assert (failed.requests, failed.reset, failed.retried) == (0, 1, 1)
    assert (saved.requests, saved.reset, saved.retried) == (1, 0, 0)
    assert (sum(failed.latency), sum(saved.latency)) == (0, 1)


async def test_the_duration_is_that_of_the_whole_exchange(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_ns = [10_000_000_000]
    for module in (books, exchange):
        monkeypatch.setattr(module, "perf_counter_ns", lambda: clock_ns[0])
    talk = await converse()
    client = await talk.client()
    for duration_us in (1, 200, 201, 60_000_000, 60_000_001):
        await client.sends(get())
        upstream = talk.blue[0].peers[0] if talk.blue[0].peers else await talk.blue[0].accepts()
        await upstream.gets(forwarded(get()))
        await upstream.sends("HTTP/1.1 200 OK\nContent-Length: 2\n\na")
        await client.gets("HTTP/1.1 200 OK\nContent-Length: 2\n\na")
        clock_ns[0] += duration_us * 1000
        await upstream.sends("b")
        await client.gets("b")
        assert talk.totals(talk.blue[0]).latency[bucket_of(duration_us)] > 0
    totals = talk.totals(talk.blue[0])
    assert totals.duration_us == 1 + 200 + 201 + 60_000_000 + 60_000_001
    assert totals.latency[:2] == [2, 1]
    assert totals.latency[-2:] == [1, 1]
    assert len(totals.latency) == len(LATENCY_BOUNDS_US) + 1


async def test_connections_are_counted_when_they_come_and_while_they_are_there(converse: Converse) -> None:
    talk = await converse()
    first, _ = await talk.client(), await talk.client()
    assert (talk.worker.connections, talk.worker.accepted) == (2, 2)
    first.closes()
    await talk.until(lambda: talk.worker.connections == 1, "one has left")
    assert talk.worker.accepted == 2


async def test_the_idle_gauge_follows_the_keepalive_cache(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client()
    upstream = None
    for _ in range(3):
        await client.sends(get())
        upstream = upstream or await talk.blue[0].accepts()
        await upstream.gets(forwarded(get()))
        await talk.until(lambda: talk.totals(talk.blue[0]).idle == 0, "the gauge has been told")
        await upstream.sends(answer())
        await client.gets(answer())
        await talk.until(lambda: talk.totals(talk.blue[0]).idle == 1, "the gauge has been told")
    assert upstream is not None
    upstream.closes()
    await talk.until(lambda: talk.totals(talk.blue[0]).idle == 0, "the end is noticed")
