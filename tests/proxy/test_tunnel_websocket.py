"""What a WebSocket gets when its time is up: a close frame where a frame ends, and time to answer it."""

from __future__ import annotations

import asyncio
import time

import pytest
from websockets.frames import Close, Frame, Opcode

from bgproxy.proxy import tunnel as tunnel_module
from tests.proxy.conftest import Converse
from tests.proxy.tunnels import Ends, tunnel
from tests.support.conversation import Conversation
from tests.support.peers import Peer

TOLD = b"\x88\x02\x03\xe9"  # 1001, to the client
OTHER = {"client": "upstream", "upstream": "client"}


def frame(side: str, payload: str | bytes, *, fin: bool = True, opcode: Opcode = Opcode.BINARY) -> bytes:
    data = payload if isinstance(payload, bytes) else payload.encode()
    return Frame(opcode, data, fin).serialize(mask=side == "client")


def close(side: str, code: int = 1000) -> bytes:
    return frame(side, Close(code, "").serialize(), opcode=Opcode.CLOSE)


async def websocket(talk: Conversation, *, from_client: bytes = b"", from_upstream: bytes = b"") -> Ends:
    return await tunnel(talk, "websocket", from_client=from_client, from_upstream=from_upstream)


async def time_is_up(talk: Conversation) -> None:
    """The drain deadline of the pool that everybody is connected to has passed."""
    talk.switch(drain_until=time.time())
    talk.wake()
    await talk.sweeps()


async def is_told(side: str, peer: Peer) -> None:
    """A close frame that says 1001, masked to the upstream."""
    if side == "client":
        await peer.gets(TOLD)
        return
    header, key, payload = (await peer.gets_bytes(2), await peer.gets_bytes(4), await peer.gets_bytes(2))
    assert header == b"\x88\x82"
    assert bytes(byte ^ key[at] for at, byte in enumerate(payload)) == (1001).to_bytes(2, "big")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So long that no test passes because time did: those that are about time change it."""
    monkeypatch.setattr(tunnel_module, "WEBSOCKET_FRAME_S", 60.0)
    monkeypatch.setattr(tunnel_module, "WEBSOCKET_CLOSE_S", 60.0)


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_both_sides_are_told_and_closed_when_both_have_answered(converse: Converse, first: str) -> None:
    talk = await converse()
    ends = await websocket(talk)
    hello = frame("client", "hello")
    await ends.client.sends(hello)
    await ends.upstream.gets(hello)
    await time_is_up(talk)
    await is_told("client", ends.client)
    await is_told("upstream", ends.upstream)
    one, other = ends.of(first)
    await one.sends(close(first, 1001))
    await talk.sweeps()
    assert (one.has_nothing(), other.has_nothing(), talk.tunnels) == (True, True, 1)
    notified = talk.notified
    await other.sends(close(OTHER[first], 1001))
    await one.gets_end()
    await other.gets_end()
    assert (talk.tunnels, talk.notified) == (0, notified + 1)


@pytest.mark.parametrize("cut", [1, 3, 5, 9, 70_000])
@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_frame_in_progress_is_completed_first(converse: Converse, side: str, cut: int) -> None:
    """Of a big message in fragments; the other direction, which is between two frames, does not wait for it."""
    talk = await converse()
    ends = await websocket(talk)
    sender, reader = ends.of(side)
    first = frame(side, b"first" * 20_000, fin=False)
    second = frame(side, b"second" * 20_000, fin=False, opcode=Opcode.CONT)
    await sender.sends(first + second[:cut])
    assert await reader.gets_bytes(len(first) + cut) == first + second[:cut]
    await time_is_up(talk)
    await is_told(side, sender)
    await sender.sends(second[cut:-1])
    await reader.gets(second[cut:-1])
    await talk.sweeps()
    assert reader.has_nothing()
    await sender.sends(second[-1:] + frame(side, "third", opcode=Opcode.CONT) + close(side, 1001))
    await reader.gets(second[-1:])
    await is_told(OTHER[side], reader)
    await reader.sends(close(OTHER[side], 1001))
    await sender.gets_end()
    await reader.gets_end()


async def test_both_directions_may_be_in_the_middle_of_a_frame(converse: Converse) -> None:
    talk = await converse()
    asked, told = frame("client", "a" * 1000), frame("upstream", "b" * 1000)
    client, upstream = await websocket(talk)
    await client.sends(asked[:500])
    await upstream.gets(asked[:500])
    await upstream.sends(told[:500])
    await client.gets(told[:500])
    await time_is_up(talk)
    assert (client.has_nothing(), upstream.has_nothing()) == (True, True)
    await client.sends(asked[500:])
    await upstream.gets(asked[500:])
    await is_told("upstream", upstream)
    await upstream.sends(told[500:] + close("upstream", 1001))
    await client.gets(told[500:])
    await is_told("client", client)
    await client.sends(close("client", 1001))
    await client.gets_end()
    await upstream.gets_end()


async def test_frames_that_began_right_behind_the_handshake_are_completed_too(converse: Converse) -> None:
    talk = await converse()
    asked, told = frame("client", "a question"), frame("upstream", "an answer")
    client, upstream = await websocket(talk, from_client=asked[:7], from_upstream=told[:3])
    await upstream.gets(asked[:7])
    await client.gets(told[:3])
    await time_is_up(talk)
    await client.sends(asked[7:])
    await upstream.gets(asked[7:])
    await is_told("upstream", upstream)
    await upstream.sends(told[3:])
    await client.gets(told[3:])
    await is_told("client", client)


async def test_a_frame_that_is_never_completed_ends_in_a_plain_close(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel_module, "WEBSOCKET_FRAME_S", 0.05)
    talk = await converse()
    client, upstream = await websocket(talk)
    asked = frame("client", "a question")
    await client.sends(asked[:-1])
    await upstream.gets(asked[:-1])
    await time_is_up(talk)
    await is_told("client", client)
    await upstream.gets_end()
    await client.gets_end()
    assert talk.tunnels == 0


@pytest.mark.parametrize("silent", ["client", "upstream"])
async def test_who_does_not_answer_is_closed_all_the_same(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    monkeypatch.setattr(tunnel_module, "WEBSOCKET_CLOSE_S", 0.05)
    talk = await converse()
    ends = await websocket(talk)
    peer, other = ends.of(silent)
    await time_is_up(talk)
    await other.sends(close(OTHER[silent], 1001))
    await is_told(silent, peer)
    await is_told(OTHER[silent], other)
    await peer.gets_end()
    await other.gets_end()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_who_is_leaving_by_itself_is_left_alone(converse: Converse, side: str) -> None:
    talk = await converse()
    one, other = (await websocket(talk)).of(side)
    goodbye, answer = close(side, 1000), close(OTHER[side], 1000)
    await one.sends(goodbye[:3])
    await other.gets(goodbye[:3])
    await time_is_up(talk)
    await one.sends(goodbye[3:])
    await other.gets(goodbye[3:])
    await other.sends(answer)
    await one.gets(answer)
    other.closes()
    await one.gets_end()
    one.closes()
    await talk.until(lambda: talk.tunnels == 0, "the tunnel has ended")


async def test_sides_that_part_by_themselves_have_to_be_quick(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel_module, "WEBSOCKET_CLOSE_S", 0.05)
    talk = await converse()
    client, upstream = await websocket(talk)
    goodbye = close("client", 1000)
    await client.sends(goodbye)
    await upstream.gets(goodbye)
    await time_is_up(talk)
    await upstream.gets_end()
    await client.gets_end()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_what_is_no_websocket_after_all_is_closed_plainly(converse: Converse, side: str) -> None:
    talk = await converse()
    one, other = (await websocket(talk)).of(side)
    await one.sends(b"\xff" * 20)
    await other.gets(b"\xff" * 20)
    await time_is_up(talk)
    await one.gets_end()
    await other.gets_end()
    assert talk.tunnels == 0


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_half_closed_websocket_is_closed_plainly(converse: Converse, side: str) -> None:
    talk = await converse()
    one, other = (await websocket(talk)).of(side)
    one.half_closes()
    await other.gets_end()
    await time_is_up(talk)
    await one.gets_end()
    assert talk.tunnels == 0


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_an_end_is_as_good_as_an_answer(converse: Converse, side: str) -> None:
    talk = await converse()
    ends = await websocket(talk)
    await time_is_up(talk)
    one, other = ends.of(side)
    await is_told(OTHER[side], other)
    one.half_closes()
    await talk.sweeps()
    assert (other.has_nothing(), talk.tunnels) == (True, 1)
    await other.sends(close(OTHER[side], 1001))
    await other.gets_end()
    await is_told(side, one)
    await one.gets_end()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_an_abort_after_the_close_frames_is_no_longer_the_others_business(
    converse: Converse, side: str
) -> None:
    talk = await converse()
    ends = await websocket(talk)
    await time_is_up(talk)
    one, other = ends.of(side)
    await is_told(OTHER[side], other)
    one.aborts()
    await other.gets_end()
    assert talk.tunnels == 0


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_an_abort_in_the_last_frame_is_an_abort(converse: Converse, side: str) -> None:
    talk = await converse()
    one, other = (await websocket(talk)).of(side)
    started = frame(side, "never finished")[:-1]
    await one.sends(started)
    await other.gets(started)
    await time_is_up(talk)
    one.aborts()
    assert await other.gets_abort() == b""
    assert talk.tunnels == 0


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_who_is_held_back_by_a_slow_reader_is_told_too(converse: Converse, side: str) -> None:
    """At once, and the reader when it has read what was sent to it before."""
    talk = await converse()
    ends = await websocket(talk)
    one, other = ends.of(side)
    flood = frame(side, b"a" * 60_000) * 500
    pouring = asyncio.ensure_future(one.pours(flood))
    await talk.until_stuck(lambda: one.sent_bytes)
    await time_is_up(talk)
    await is_told(side, one)
    mark = TOLD if side == "upstream" else b"\x88\x82"
    got = (await other.gets_until(mark)).removesuffix(mark)
    assert flood.startswith(got)
    await pouring
    await one.sends(close(side, 1001))
    await other.sends(close(OTHER[side], 1001))
    await one.gets_end()
