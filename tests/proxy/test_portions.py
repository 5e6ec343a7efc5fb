"""On the loop that workers have, which knows three ways to read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from bgproxy.proxy.portions import PORTION_BYTES, read_in_portions

PATIENCE_S = 5.0
LONG = bytes(range(256)) * 4096 * 4


class Reader(asyncio.Protocol):
    """Reads in portions as soon as it gets more than one at once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = False
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        if len(data) > PORTION_BYTES:
            read_in_portions(self.transport, self)

    def eof_received(self) -> bool:
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Reader, socket.socket]]:
    """A reader, and the other end of its connection."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, len(LONG))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(LONG))
    far.setblocking(False)
    _, reader = await asyncio.get_running_loop().create_unix_connection(Reader, sock=near)
    yield reader, far
    far.close()
    async with asyncio.timeout(PATIENCE_S):
        await reader.lost


async def send(far: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.get_running_loop().sock_sendall(far, data)


async def test_after_the_first_piece_that_is_too_large_none_is_and_no_byte_is_lost(
    pair: tuple[Reader, socket.socket],
) -> None:
    reader, far = pair
    await send(far, LONG)
    far.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(PATIENCE_S):
        await reader.lost
    sizes = [len(piece) for piece in reader.pieces]
    first = next(place for place, size in enumerate(sizes) if size > PORTION_BYTES)
    assert max(sizes[first + 1 :]) == PORTION_BYTES
    assert b"".join(reader.pieces) == LONG
    assert reader.ended


async def test_whoever_is_read_in_portions_can_be_held_back(pair: tuple[Reader, socket.socket]) -> None:
    reader, far = pair
    sending = asyncio.ensure_future(send(far, LONG * 4))
    async with asyncio.timeout(PATIENCE_S):
        while not any(len(piece) > PORTION_BYTES for piece in reader.pieces):
            await asyncio.sleep(0)
    reader.transport.pause_reading()
    count = len(reader.pieces)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(reader.pieces) == count
    assert not sending.done()
    reader.transport.resume_reading()
    await sending
    far.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(PATIENCE_S):
        await reader.lost
    assert b"".join(reader.pieces) == LONG * 4


async def test_short_pieces_never_lead_to_portions(pair: tuple[Reader, socket.socket]) -> None:
    reader, far = pair
    await send(far, b"short")
    async with asyncio.timeout(PATIENCE_S):
        while not reader.pieces:
            await asyncio.sleep(0)
    assert reader.pieces == [b"short"]
    assert reader.transport.get_protocol() is reader
