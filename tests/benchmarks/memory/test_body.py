"""What goes through a pair of sockets, and how fast."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from benchmarks.memory import body
from benchmarks.memory.body import BLOCK_BYTES, Pace

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

AT_ONCE_S = 0.0


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Stream, Stream]]:
    left, right = [await asyncio.open_connection(sock=sock) for sock in socket.socketpair()]
    yield left, right
    for _, writer in (left, right):
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size_bytes", [1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
async def test_what_is_sent_is_received_to_the_byte(
    pair: tuple[Stream, Stream], size_bytes: int, *, chunked: bool
) -> None:
    (_, sends), (receives, _) = pair
    head = f"HTTP/1.1 200 OK\r\n{body.framing_field(size_bytes, chunked=chunked)}\r\n\r\n".encode()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(body.send(sends, size_bytes, chunked=chunked))
        received = group.create_task(body.receive(receives, head, Pace(1, AT_ONCE_S)))
    assert received.result() == size_bytes
    sends.write_eof()
    assert await receives.read() == b""


async def test_a_body_that_ends_too_early_is_an_error(pair: tuple[Stream, Stream]) -> None:
    (_, sends), (receives, _) = pair
    sends.write(b"half")
    sends.write_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await body.receive(receives, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", Pace(1, AT_ONCE_S))


async def test_it_is_received_as_slowly_as_asked_and_then_at_once(pair: tuple[Stream, Stream]) -> None:
    (_, sends), (receives, _) = pair
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    began = time.monotonic()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(body.send(sends, 1_000_000, chunked=False))
        group.create_task(body.receive(receives, head, Pace(100_000, 0.3)))
    assert 0.3 <= time.monotonic() - began < 3  # at the slow rate it would have taken ten seconds


async def test_at_a_rate_of_zero_nothing_is_received_at_first() -> None:
    pace = Pace(0, 0.05)
    began = time.monotonic()
    await pace.begin()
    assert time.monotonic() - began >= 0.05
