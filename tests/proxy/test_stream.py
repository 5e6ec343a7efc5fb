"""Where a connection of a TCP listener goes: split, balance, hold, queue, failures, and the books."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from bgproxy.model import (
    Balance,
    Canary,
    HashOn,
    Health,
    Hold,
    Limits,
    Maintenance,
    Outlier,
    Retries,
    Timeouts,
    UpstreamTls,
    WhenUnhealthy,
)
from tests.proxy.conftest import Converse
from tests.proxy.streams import converse_over_tcp, relayed
from tests.support.conversation import Conversation


def hold(**changes: Any) -> Hold:
    return replace(Hold(1, time.time() + 1000, max_requests=100, max_bytes=1 << 20), **changes)


async def until_parked(talk: Conversation, connections: int) -> None:
    await talk.until(lambda: talk.worker.parked == connections, f"{connections} are parked")


async def until_queued(talk: Conversation, connections: int) -> None:
    await talk.until(lambda: talk.plane.queued == connections, f"{connections} are in the queue")


# --- where it goes ----------------------------------------------------------------------------------


async def test_after_a_switch_the_next_connection_is_the_new_pools(converse: Converse) -> None:
    """Without anything that would wake the worker."""
    talk = await converse_over_tcp(converse)
    await relayed(talk)
    talk.switch()
    client, upstream = await relayed(talk, talk.green[0])
    await client.sends(b"hello, green")
    await upstream.gets(b"hello, green")


async def test_a_preview_listener_leads_to_the_idle_pool(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, maintenance=Maintenance(), hold=hold())
    await talk.client("preview")
    await talk.green[0].accepts()


@pytest.mark.parametrize("weight", [0, 1, 25, 100])
async def test_a_canarys_share_of_connections_is_exact(converse: Converse, weight: int) -> None:
    talk = await converse_over_tcp(converse, canary=Canary(weight=weight, salt="r1"))
    for _ in range(100):
        await talk.client()
    await talk.until(lambda: talk.tunnels == 100, "all are relayed")
    assert talk.totals(talk.green[0]).tunnels == weight


async def test_a_canary_without_a_healthy_upstream_gets_nothing(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, canary=Canary(weight=100, salt="r1"))
    talk.publish(idle=talk.pool("green", Health.UNHEALTHY))
    await relayed(talk)


async def test_another_pool_stands_in_for_one_that_is_not_healthy_if_it_may(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, when_unhealthy=WhenUnhealthy.OTHER_POOL)
    talk.publish(active=talk.pool("blue", Health.UNHEALTHY))
    await relayed(talk, talk.green[0])


async def test_connections_are_balanced_by_how_many_there_are(converse: Converse) -> None:
    """Idle ones count too, as long as they live."""
    talk = await converse_over_tcp(converse, blue=2, balance=Balance.LEAST_CONN)
    first = await talk.client()
    await talk.until(lambda: talk.tunnels == 1, "the first is relayed")
    busy = next(each for each in talk.blue if talk.totals(each).tunnels)
    (other,) = {*talk.blue} - {busy}
    second = await talk.client()
    await talk.until(lambda: talk.totals(other).tunnels == 1, "the second is the other's")
    first.aborts()
    await talk.until(lambda: talk.tunnels == 1, "the first is gone")
    for _ in range(2):
        client = await talk.client()
        await talk.until(lambda: talk.totals(busy).tunnels == 1, "the next is the first one's again")
        client.aborts()
        await talk.until(lambda: talk.totals(busy).tunnels == 0, "it is gone")
    second.aborts()


@pytest.mark.parametrize("on", [HashOn(), HashOn("header", "X-User")])
async def test_a_hash_is_of_the_clients_address_whatever_it_is_on(converse: Converse, on: HashOn) -> None:
    talk = await converse_over_tcp(converse, blue=4, balance=Balance.HASH, hash_on=on)
    for _ in range(8):
        await talk.client()
    await talk.until(lambda: talk.tunnels == 8, "all are relayed")
    assert sorted(talk.totals(each).tunnels for each in talk.blue) == [0, 0, 0, 8]


# --- who cannot be served --------------------------------------------------------------------------


async def test_in_a_maintenance_connections_are_cut_off(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, maintenance=Maintenance())
    assert await (await talk.client()).gets_abort() == b""
    assert talk.service_totals.responses[5] == 1
    assert talk.blue[0].is_unused()


async def test_without_a_healthy_upstream_connections_are_cut_off(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    talk.publish(active=talk.pool("blue", Health.UNHEALTHY))
    assert await (await talk.client()).gets_abort() == b""
    assert talk.service_totals.responses[5] == 1


async def test_a_service_that_is_gone_is_nobodys(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, listener={"service": "gone"})
    assert await (await talk.client()).gets_abort() == b""
    assert talk.unrouted.responses[4] == 1


async def test_connections_that_there_are_no_descriptors_for_are_cut_off(converse: Converse) -> None:
    talk = await converse_over_tcp(converse)
    client, upstream = await relayed(talk)
    talk.plane.max_connections = 1
    assert await (await talk.client()).gets_abort() == b""
    await client.sends(b"still here")
    await upstream.gets(b"still here")
    assert talk.unrouted.responses[5] == 1


# --- upstreams that cannot be reached --------------------------------------------------------------


async def test_an_upstream_that_refuses_is_replaced_by_another(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, blue=2)
    talk.blue[1].refuses()
    for _ in range(2):
        client, upstream = await relayed(talk)
        await client.sends(b"hello")
        await upstream.gets(b"hello")
    answered, refused = (talk.totals(upstream) for upstream in talk.blue)
    assert refused.connect_failed == refused.retried > 0
    assert (answered.responses[1], sum(refused.responses)) == (2, 0)


async def test_bytes_that_came_first_reach_the_upstream_that_was_found_at_last(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, blue=3, hold=hold())
    client = await talk.client()
    await client.sends(b"first words")
    await until_parked(talk, 1)
    talk.blue[0].refuses()
    talk.blue[1].refuses()
    talk.publish(hold=None)
    talk.wake()
    await (await talk.blue[2].accepts()).gets(b"first words")


async def test_when_nobody_can_be_reached_the_client_is_cut_off(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, blue=2)
    for upstream in talk.blue:
        upstream.refuses()
    assert await (await talk.client()).gets_abort() == b""
    totals = [talk.totals(upstream) for upstream in talk.blue]
    assert [each.connect_failed for each in totals] == [1, 1]
    assert sum(each.responses[5] for each in totals) == 1


@pytest.mark.parametrize("attempts", [0, 1])
async def test_so_many_others_are_tried_as_retries_allow(converse: Converse, attempts: int) -> None:
    talk = await converse_over_tcp(converse, blue=3, retries=Retries(attempts=attempts, budget=0.0))
    for upstream in talk.blue:
        upstream.refuses()
    assert await (await talk.client()).gets_abort() == b""
    assert sum(talk.totals(each).connect_failed for each in talk.blue) == attempts + 1


async def test_an_upstream_that_takes_too_long_is_left_for_another(converse: Converse) -> None:
    """Both accept, and neither says a word of TLS."""
    talk = await converse_over_tcp(
        converse, blue=2, upstream_tls=UpstreamTls(verify=False), timeouts=Timeouts(connect_s=0.05)
    )
    client = await talk.client()
    assert await client.gets_abort() == b""
    for upstream in talk.blue:
        await (await upstream.accepts()).gets_cut_off()
        assert talk.totals(upstream).connect_failed == 1


async def test_upstreams_that_refuse_again_and_again_are_ejected(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, blue=2, outlier=Outlier(consecutive_failures=2))
    talk.blue[1].refuses()
    for _ in range(8):
        await relayed(talk)
    assert talk.totals(talk.blue[1]).connect_failed == 2


async def test_a_client_that_leaves_while_it_is_connected_is_in_the_books(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, upstream_tls=UpstreamTls(verify=False))
    client = await talk.client()
    upstream = await talk.blue[0].accepts()
    downstream = talk.downstream
    downstream.reset()
    await upstream.gets_cut_off()
    assert await client.gets_abort() == b""
    totals = talk.totals(talk.blue[0])
    assert (totals.in_flight, totals.responses[0]) == (0, 1)
    assert talk.plane.table.services["web"].active.upstreams[0].in_flight == 0


# --- hold -----------------------------------------------------------------------------------------


async def test_a_hold_parks_connections_until_the_cutover_is_done_in_their_order(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, hold=hold())
    clients = []
    for number in range(3):
        client = await talk.client()
        await client.sends(b"from %d" % number)
        await until_parked(talk, number + 1)
        clients.append(client)
    assert talk.blue[0].is_unused()
    assert talk.service_totals.held == 3
    talk.switch(hold=None)
    talk.wake()
    for number, client in enumerate(clients):
        upstream = await talk.green[0].accepts()
        await upstream.gets(b"from %d" % number)
        await upstream.sends(b"to %d" % number)
        await client.gets(b"to %d" % number)


async def test_what_a_parked_client_sends_stays_in_the_kernel(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, hold=hold())
    client = await talk.client()
    await until_parked(talk, 1)
    await client.sends(b"a" * 10_000)
    downstream = talk.downstream
    await talk.sweeps()
    assert downstream.parked_bytes() == 0
    talk.publish(hold=None)
    talk.wake()
    assert await (await talk.blue[0].accepts()).gets_bytes(10_000) == b"a" * 10_000


async def test_a_connection_too_many_ends_the_hold(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, hold=hold(max_requests=2))
    for number in range(2):
        await talk.client()
        await until_parked(talk, number + 1)
    await talk.client()
    for _ in range(3):
        await talk.blue[0].accepts()
    assert talk.worker.overflowed == 1


async def test_a_client_that_left_during_a_hold_is_an_end_to_its_upstream(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, hold=hold())
    client = await talk.client()
    await until_parked(talk, 1)
    client.closes()
    talk.publish(hold=None)
    talk.wake()
    upstream = await talk.blue[0].accepts()
    await upstream.gets_end()
    upstream.closes()


async def test_a_shutdown_lets_what_is_held_go_on(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, hold=hold())
    client = await talk.client()
    await until_parked(talk, 1)
    talk.plane.drain(1000.0, 0.0)
    upstream = await talk.blue[0].accepts()
    await talk.sweeps()
    await client.sends(b"hello")
    await upstream.gets(b"hello")


# --- limits of upstreams ----------------------------------------------------------------------------


async def test_connections_over_the_limit_wait_for_room_and_then_go_on_in_their_order(
    converse: Converse,
) -> None:
    talk = await converse_over_tcp(converse, limits=Limits(upstream_requests=1, queue=2))
    first = await relayed(talk)
    waiting = []
    for number in range(2):
        client = await talk.client()
        await client.sends(b"from %d" % number)
        await until_queued(talk, number + 1)
        waiting.append(client)
    assert await (await talk.client()).gets_abort() == b""  # the queue is full
    assert talk.service_totals.responses[5] == 1
    first.client.aborts()
    second = await talk.blue[0].accepts()
    await second.gets(b"from 0")
    assert talk.blue[0].is_unused()
    second.aborts()
    await (await talk.blue[0].accepts()).gets(b"from 1")


async def test_a_cutover_moves_the_queue(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, limits=Limits(upstream_requests=1, queue=1))
    await relayed(talk)
    client = await talk.client()
    await client.sends(b"hello")
    await until_queued(talk, 1)
    talk.switch()
    talk.wake()
    await (await talk.green[0].accepts()).gets(b"hello")


async def test_who_finds_no_room_in_time_is_cut_off(converse: Converse) -> None:
    limits = Limits(upstream_requests=1, queue=1, queue_timeout_s=0.05)
    talk = await converse_over_tcp(converse, limits=limits)
    await relayed(talk)
    client = await talk.client()
    await until_queued(talk, 1)
    assert await client.gets_abort() == b""
    assert talk.service_totals.responses[5] == 1


async def test_a_retry_makes_room_where_it_has_failed(converse: Converse) -> None:
    talk = await converse_over_tcp(converse, blue=2, limits=Limits(upstream_requests=1))
    talk.blue[0].refuses()
    await relayed(talk, talk.blue[1])
    assert [each.in_flight for each in talk.plane.table.services["web"].active.upstreams] == [0, 1]
