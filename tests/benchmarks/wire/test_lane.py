"""The lane with plain doubles of a proxy on a real socket: one that passes on everything, one that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from benchmarks.wire import lane as lanes
from benchmarks.wire.case import (
    GET,
    Case,
    Close,
    HalfClose,
    Reconnect,
    Reset,
    Send,
    Until,
    Whole,
    request,
    sized,
)
from benchmarks.wire.judge import aborted, answered, closed, forwarded, refused
from benchmarks.wire.lane import Lane


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
        writer.write_eof()
    except OSError:
        lanes.reset(writer)


async def closed_both(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def a_lane(name: str = "a") -> AsyncIterator[Lane]:
    """With a proxy that connects every client to the upstream of that name, and understands nothing."""
    served: list[asyncio.Task[None]] = []
    async with Lane.opened() as lane:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", lane.ports[name])
            except OSError:
                writer.close()
                return
            try:
                await asyncio.gather(pass_on(reader, up_writer), pass_on(up_reader, writer))
            finally:
                served.append(asyncio.create_task(closed_both(writer, up_writer)))

        proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
        lane.proxy_port = proxy.sockets[0].getsockname()[1]
        async with proxy:
            yield lane
    await asyncio.gather(*served)


def a_case(*client: object, **rest: object) -> Case:
    return Case("a case", "9112 1", client, rest.pop("right", forwarded()), **rest)  # type: ignore[arg-type]


async def fault_of(case: Case, name: str = "a") -> str | None:
    async with a_lane(name) as lane:
        seen = await lane.run(case)
        return "; ".join(seen.missed) or case.right.find_fault(seen)


async def test_what_the_upstream_got_and_what_the_client_got_is_seen() -> None:
    assert await fault_of(a_case(Send(GET))) is None


async def test_a_request_that_should_have_been_refused_is_found() -> None:
    fault = await fault_of(a_case(Send(GET), right=refused()))
    assert fault == "reached the upstream as GET '/'"


async def test_an_upstream_follows_its_script() -> None:
    script = (Whole(), Send(sized(b"mine")))
    assert await fault_of(a_case(Send(GET), right=answered(200, body=b"mine"), upstream=(script,))) is None


async def test_both_scripts_can_wait_for_each_other() -> None:
    body = request(b"POST / HTTP/1.1", b"Content-Length: 6", body=b"one")
    client = (Send(body), Until("client", b"early"), Send(b"two"))
    script = (Until("upstream", b"one"), Send(sized(b"early")), Whole())
    assert await fault_of(a_case(*client, upstream=(script,), methods=("POST",))) is None


async def test_waiting_in_vain_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PATIENCE_S", 0.1)
    fault = await fault_of(a_case(Send(GET), Until("client", b"never")))
    assert fault == "the client waited in vain for the client to get b'never'"


async def test_a_reset_is_not_taken_for_an_end() -> None:
    cut = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    reset = (Whole(), Send(cut), Until("client", b"hello"), Reset())
    end = (Whole(), Send(cut), Until("client", b"hello"), Close())
    assert await fault_of(a_case(Send(GET), right=aborted(), upstream=(reset,))) is None
    assert await fault_of(a_case(Send(GET), right=aborted(), upstream=(end,)))


async def test_an_upstream_that_refuses_does_not_listen_during_the_case_only() -> None:
    async with a_lane() as lane:
        refusing = a_case(Send(GET), right=closed(), refusing=frozenset("a"))
        assert refusing.right.find_fault(await lane.run(refusing)) is None
        usual = a_case(Send(GET))
        assert usual.right.find_fault(await lane.run(usual)) is None


async def test_a_case_leaves_nothing_to_the_next_one() -> None:
    async with a_lane() as lane:
        left = a_case(
            Send(GET), right=answered(200), upstream=((Whole(), Send(sized(b"a"))), (Send(b"evil"),))
        )
        assert left.right.find_fault(await lane.run(left)) is None
        seen = await lane.run(a_case(Send(GET)))
        assert [bytes(each.body) for each in seen.responses] == [b"answer"]
        assert len(seen.upstreams) == 1


async def test_another_client_is_another_connection() -> None:
    case = a_case(
        Send(GET),
        Until("client", b"answer"),
        Reconnect(),
        Send(GET),
        HalfClose(),
        right=answered(200, body=b"answer", count=2),
        methods=("GET", "GET"),
    )
    async with a_lane() as lane:
        seen = await lane.run(case)
        assert case.right.find_fault(seen) is None
        assert len(seen.clients) == len(seen.upstreams) == 2


async def test_what_is_no_request_is_answered_so_that_nobody_waits() -> None:
    async with a_lane() as lane:
        seen = await lane.run(a_case(Send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")))
        assert seen.upstreams[0].fault is not None
        assert [each.status for each in seen.responses] == [400]
