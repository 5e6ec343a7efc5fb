from __future__ import annotations

from dataclasses import replace

import pytest

from tests.proxy.conftest import Converse
from tests.proxy.mirrors import EVERY, asks, copied, differences, shown, until_counted
from tests.support.conversation import answer, forwarded, get

# A body with a digest of its own in each framing.
CHUNKED = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhe\n3\nllo\n0\n\n"
CLOSING = "HTTP/1.1 200 OK\nConnection: close\n\nhello"


async def test_equal_answers_are_counted_as_the_same(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get("/a?b=c"))
    await blue.sends(answer("hello"))
    await client.gets(answer("hello"))
    await green.sends(answer("hello"))
    await until_counted(talk, mirrored=1, same=1)
    ((active_us, idle_us),) = shown(talk).samples
    assert 0 < active_us < idle_us


async def test_the_client_waits_for_nothing_of_it(converse: Converse) -> None:
    """Green has not even been accepted when the client is answered, twice."""
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    await client.sends(get())
    blue = await talk.blue[0].accepts()
    await blue.gets(forwarded(get()))
    await blue.sends(answer("1"))
    await client.gets(answer("1"))
    await client.sends(get("/2"))
    await blue.gets(forwarded(get("/2")))
    await blue.sends(answer("2"))
    await client.gets(answer("2"))


async def test_what_green_would_have_answered_differently_is_told(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get("/a?token=secret"))
    await green.sends(answer("oops", "Location: /x", status="500 Broken"))
    await blue.sends(answer("hello", "Content-Type: text/plain"))
    await client.gets(answer("hello", "Content-Type: text/plain"))
    await until_counted(talk, mirrored=1, different=1, status_differs=1, headers_differ=1, body_differs=1)
    (told,) = differences(talk)
    assert (told["method"], told["path"], told["body"]) == ("GET", "/a", "different")
    assert told["differs"] == ["status", "headers", "body"]
    assert told["headers"] == [
        {"name": "content-type", "active": "text/plain", "idle": None},
        {"name": "location", "active": None, "idle": "/x"},
    ]
    sides = [
        (side["pool"], side["upstream"], side["status"], side["body_bytes"])
        for side in (told["active"], told["idle"])
    ]
    assert sides == [("blue", "upstream-1", 200, 5), ("green", "upstream-2", 500, 4)]
    assert told["time"] > 1.7e9


async def test_json_is_compared_without_what_is_ignored(converse: Converse) -> None:
    talk = await converse(mirror=replace(EVERY, ignore_json=("$.time",)))
    client = await talk.client()
    kind = "Content-Type: application/json"
    blue, green = await asks(talk, client, get())
    await blue.sends(answer('{"time": 1, "a": 1}', kind))
    await green.sends(answer('{"a": 1, "time": 2}', kind))
    await client.gets_response()
    await until_counted(talk, mirrored=1, same=1)
    await client.sends(get())
    await blue.gets(forwarded(get()))
    await green.gets(copied(get()))
    await blue.sends(answer('{"time": 1, "a": 1}', kind))
    await green.sends(answer('{"time": 1, "a": "1"}', kind))
    await client.gets_response()
    await until_counted(talk, mirrored=2, same=1, different=1, body_differs=1)
    assert differences(talk)[0]["json"] == [{"path": "$.a", "active": "number", "idle": "string"}]


@pytest.mark.parametrize("active", [answer("hello"), CHUNKED, CLOSING])
@pytest.mark.parametrize("idle", [answer("hello"), CHUNKED, CLOSING])
async def test_framing_makes_no_difference(converse: Converse, active: str, idle: str) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await blue.sends(active)
    if active is CLOSING:
        blue.closes()
    await green.sends(idle)
    if idle is CLOSING:
        green.closes()
    await until_counted(talk, mirrored=1, same=1)


async def test_answers_may_come_in_pieces(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    for piece in ("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Le", "ngth: 5\n\nhe", "llo"):
        for peer in (green, blue):
            await peer.sends(piece)
            await talk.sweeps()
    await until_counted(talk, mirrored=1, same=1)


async def test_a_head_request_has_no_body_to_compare(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get(method="HEAD"))
    for peer in (blue, green):
        await peer.sends("HTTP/1.1 200 OK\nContent-Length: 5\n\n")
    await until_counted(talk, mirrored=1, same=1)


async def test_larger_bodies_are_not_compared_and_that_is_said(converse: Converse) -> None:
    talk = await converse(mirror=replace(EVERY, body_bytes=4))
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await blue.sends(answer("hello"))
    await green.sends(answer("other", status="404 Not Found"))
    await until_counted(talk, mirrored=1, different=1, status_differs=1, bodies_left_out=1)
    assert differences(talk)[0]["body"] == "too_large"


async def test_connections_of_copies_are_used_again_and_counted_nowhere(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    for number in (1, 2, 3):
        assert talk.totals(talk.green[0]).in_flight == 0
        await green.sends(answer("x"))
        await blue.sends(answer("x"))
        await client.gets(answer("x"))
        await until_counted(talk, mirrored=number, same=number)
        assert talk.kept(talk.green[0]) == 0
        await client.sends(get())
        await blue.gets(forwarded(get()))
        await green.gets(copied(get()))
    assert talk.totals(talk.green[0]).requests == 0
    assert talk.totals(talk.blue[0]).requests == 3


async def test_a_connection_that_green_closed_is_replaced(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    for peer in (green, blue):
        await peer.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, same=1)
    green.closes()
    await client.sends(get("/2"))
    green = await talk.green[0].accepts()
    await green.gets(copied(get("/2")))


async def test_a_kept_connection_that_dies_under_a_copy_costs_another_try(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    for peer in (green, blue):
        await peer.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, same=1)
    await client.sends(get("/2"))
    await green.gets(copied(get("/2")))
    green.aborts()
    again = await talk.green[0].accepts()
    await again.gets(copied(get("/2")))
    await again.sends(answer("x"))
    await blue.sends(answer("x"))
    await until_counted(talk, mirrored=2, same=2)


# --- green fails ----------------------------------------------------------------------------------


async def test_a_green_that_refuses_has_failed(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    talk.green[0].refuses()
    client = await talk.client()
    await client.sends(get())
    blue = await talk.blue[0].accepts()
    await blue.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, failed=1, connect_failed=1)
    assert talk.totals(talk.green[0]).connect_failed == 0


@pytest.mark.parametrize(
    "said", ["", "HTTP/1.1 200 OK\nContent-Le", "HTTP/1.1 200 OK\nContent-Length: 9\n\nabc"]
)
async def test_a_green_that_leaves_has_failed(converse: Converse, said: str) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await green.sends(said)
    green.closes()
    await until_counted(talk, mirrored=1, failed=1, reset=1)
    await blue.sends(answer("x"))
    await client.gets(answer("x"))
    await talk.sweeps()
    await until_counted(talk, mirrored=1, failed=1, reset=1)


@pytest.mark.parametrize(
    "said",
    [
        "SMTP\n",
        "HTTP/1.1 101 Switching Protocols\nUpgrade: x\nConnection: Upgrade\n\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\n",
        "HTTP/1.1 103 Early Hints\n\n" * 20,
    ],
)
async def test_a_green_that_does_not_speak_http_has_failed(converse: Converse, said: str) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await green.sends(said)
    await until_counted(talk, mirrored=1, failed=1, invalid=1)
    await green.gets_cut_off()
    await blue.sends(answer("x"))
    await client.gets(answer("x"))


async def test_what_green_sends_behind_its_answer_is_no_answer_to_the_next(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await green.sends(answer("x") + answer("stray"))
    await blue.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, same=1)
    await green.gets_cut_off()
    await client.sends(get("/2"))
    await (await talk.green[0].accepts()).gets(copied(get("/2")))


@pytest.mark.parametrize("said", ["", "HTTP/1.1 200 OK\nContent-Length: 9\n\nabc"])
async def test_a_green_that_is_too_slow_has_failed(converse: Converse, said: str) -> None:
    talk = await converse(mirror=replace(EVERY, timeout_s=0.05))
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await green.sends(said)
    await blue.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, failed=1, timed_out=1)
    await green.gets_cut_off()


async def test_a_green_that_does_not_accept_has_failed(converse: Converse) -> None:
    """Its kernel did, so there is a connection; it goes with the copy."""
    talk = await converse(mirror=replace(EVERY, timeout_s=0.05))
    client = await talk.client()
    await client.sends(get())
    await until_counted(talk, mirrored=1, failed=1, timed_out=1)
    assert not talk.plane.shadows.under_way


# --- blue fails, or has no end --------------------------------------------------------------------


@pytest.mark.parametrize("said", ["HTTP/1.1 200 OK\nContent-Length: 9\n\nabc", "HTTP/1.1 200 OK\n\nabc"])
async def test_without_blues_whole_answer_there_is_nothing_to_compare(converse: Converse, said: str) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await green.sends(answer("x"))
    await blue.sends(said)
    await client.gets_until(b"abc")
    blue.aborts()
    await client.gets_cut_off()
    await until_counted(talk, mirrored=1, uncompared=1)


async def test_a_client_that_leaves_ends_no_copy(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    client.aborts()
    await blue.gets_cut_off()
    await green.sends(answer("x"))
    await until_counted(talk, mirrored=1, uncompared=1)


async def test_an_error_of_ours_is_compared_with_nothing(converse: Converse) -> None:
    talk = await converse(mirror=EVERY)
    talk.blue[0].refuses()
    client = await talk.client()
    await client.sends(get())
    green = await talk.green[0].accepts()
    await green.sends(answer("x"))
    assert (await client.gets_response()).status == 502
    await until_counted(talk, mirrored=1, uncompared=1)


async def test_a_retry_is_mirrored_once(converse: Converse) -> None:
    talk = await converse(blue=2, mirror=EVERY)
    talk.blue[1].refuses()
    client = await talk.client()
    for number in (1, 2):
        await client.sends(get())
        blue = talk.blue[0].peers[0] if talk.blue[0].peers else await talk.blue[0].accepts()
        await blue.gets(forwarded(get()))
        green = talk.green[0].peers[0] if talk.green[0].peers else await talk.green[0].accepts()
        await green.gets(copied(get()))
        for peer in (green, blue):
            await peer.sends(answer("x"))
        await client.gets(answer("x"))
        await until_counted(talk, mirrored=number, same=number)
    assert talk.totals(talk.blue[1]).connect_failed == 2


async def test_endless_answers_are_compared_by_their_heads(converse: Converse) -> None:
    talk = await converse(mirror=replace(EVERY, timeout_s=0.05))
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    events = "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nTransfer-Encoding: chunked\n\n1\n"
    await blue.sends(events + "a\n")
    await client.gets(events + "a\n")
    await green.sends(events + "b\n")
    await until_counted(talk, mirrored=1, same=1, bodies_left_out=1)
    await green.gets_cut_off()
    await blue.sends("1\nc\n0\n\n")
    await client.gets("1\nc\n0\n\n")


async def test_a_copy_that_is_answered_first_waits_no_longer_than_its_time(converse: Converse) -> None:
    talk = await converse(mirror=replace(EVERY, timeout_s=0.05))
    client = await talk.client()
    blue, green = await asks(talk, client, get())
    await green.sends(answer("x"))
    await until_counted(talk, mirrored=1, uncompared=1)
    await blue.sends(answer("x"))
    await client.gets(answer("x"))
    await until_counted(talk, mirrored=1, uncompared=1)
