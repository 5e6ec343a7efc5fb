"""Bodies of any length without a content, sent as fast as they are taken and received as slowly as asked."""

from __future__ import annotations

import asyncio
import time
from typing import Final

BLOCK_BYTES: Final = 64 * 1024
# What is received at once: little while it has to be slow, so that it is slow evenly.
SIP_BYTES: Final = 8 * 1024
GULP_BYTES: Final = 256 * 1024

_BLOCK: Final = bytes(BLOCK_BYTES)


class Pace:
    """So many bytes a second for so many seconds, then as fast as they come. A rate of 0: none at first."""

    def __init__(self, bytes_per_s: float, slow_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._began = time.monotonic()
        self._slow_until = self._began + slow_s
        self._received = 0

    @property
    def portion_bytes(self) -> int:
        return SIP_BYTES if time.monotonic() < self._slow_until else GULP_BYTES

    async def begin(self) -> None:
        """Before the first byte."""
        if not self._bytes_per_s:
            await asyncio.sleep(self._slow_until - time.monotonic())

    async def keep(self, count: int) -> None:
        """Returns when the bytes after these are due."""
        self._received += count
        now = time.monotonic()
        if self._bytes_per_s and now < self._slow_until:
            due = self._began + self._received / self._bytes_per_s
            await asyncio.sleep(min(due, self._slow_until) - now)


def framing_field(size_bytes: int, *, chunked: bool) -> str:
    return "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size_bytes}"


async def send(writer: asyncio.StreamWriter, size_bytes: int, *, chunked: bool) -> None:
    left = size_bytes
    while left:
        block = _BLOCK[:left]
        left -= len(block)
        writer.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def receive(reader: asyncio.StreamReader, head: bytes, pace: Pace) -> int:
    """The length of the body behind this head; IncompleteReadError if it ends too early."""
    lines = head.lower().split(b"\r\n")
    if b"transfer-encoding: chunked" not in lines:
        (length,) = (int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        await _receive(reader, length, pace)
        return length
    total = 0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await _receive(reader, size, pace)
        await reader.readexactly(2)
        total += size
    await reader.readexactly(2)
    return total


# Private


async def _receive(reader: asyncio.StreamReader, size_bytes: int, pace: Pace) -> None:
    left = size_bytes
    while left:
        data = await reader.read(min(left, pace.portion_bytes))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(data)
        await pace.keep(len(data))
