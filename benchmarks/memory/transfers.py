"""Large downloads by slow readers and large uploads to a slow upstream, all at once, in a process of their own.

    python -m benchmarks.memory.transfers --port 8080 --readers 100 --uploads 100 --size-bytes 52428800 --slow-s 10

For `--slow-s` seconds everything is slow, then as fast as it goes, to the end: what is said on standard output is how
many came whole, and what became of the others. It must never repeat anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import ssl
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.memory import body
from benchmarks.memory.body import Pace

RATE_BYTES_PER_S: Final = 64 * 1024
# As small as it is on a phone, so that what a client does not read is left to the proxy.
RECEIVE_BUFFER_BYTES: Final = 16 * 1024
READ_AHEAD_BYTES: Final = 8 * 1024
PATIENCE_S: Final = 120.0


class Broken(Exception):
    """A transfer that was not what it should be."""


@dataclass(frozen=True, slots=True)
class Transfers:
    """What they have in common. `reader_bytes_per_s` may be 0: they read nothing at first."""

    port: int
    size_bytes: int
    slow_s: float
    reader_bytes_per_s: float
    chunked: bool
    tls: ssl.SSLContext | None

    async def download(self) -> None:
        reader, writer = await self._connect()
        pace = Pace(self.reader_bytes_per_s, self.slow_s)
        if not self.reader_bytes_per_s:
            writer.transport.pause_reading()  # type: ignore[attr-defined] # typeshed has it for readers only
        options = f"bytes={self.size_bytes}" + ("&chunked=1" if self.chunked else "")
        writer.write(f"GET /large?{options} HTTP/1.1\r\nHost: app.test\r\n\r\n".encode())
        await pace.begin()
        if not self.reader_bytes_per_s:
            writer.transport.resume_reading()  # type: ignore[attr-defined] # the same
        head = await _head(reader)
        received = await body.receive(reader, head, pace)
        if received != self.size_bytes:
            raise Broken(f"a download of {self.size_bytes} bytes had {received}")
        writer.close()

    async def upload(self) -> None:
        reader, writer = await self._connect()
        target = f"/upload?rate={RATE_BYTES_PER_S}&seconds={self.slow_s}"
        framing = body.framing_field(self.size_bytes, chunked=self.chunked)
        writer.write(f"POST {target} HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n".encode())
        await body.send(writer, self.size_bytes, chunked=self.chunked)
        await _head(reader)
        received = int(await reader.readexactly(len(str(self.size_bytes))))
        if received != self.size_bytes:
            raise Broken(f"of an upload of {self.size_bytes} bytes, {received} came")
        writer.close()

    # Private

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        name = None if self.tls is None else "app.test"
        return await asyncio.open_connection(
            sock=sock, ssl=self.tls, server_hostname=name, limit=READ_AHEAD_BYTES
        )


async def run(transfers: Transfers, *, readers: int, uploads: int) -> dict[str, object]:
    """What became of them."""
    every: list[Coroutine[None, None, None]] = [
        *(transfers.download() for _ in range(readers)),
        *(transfers.upload() for _ in range(uploads)),
    ]
    patience_s = transfers.slow_s + PATIENCE_S
    ends = await asyncio.gather(
        *(asyncio.wait_for(each, patience_s) for each in every), return_exceptions=True
    )
    broken = [end for end in ends if end is not None]
    return {
        "whole": len(ends) - len(broken),
        "broken": sorted({f"{type(end).__name__}: {end}" for end in broken}),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.transfers", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--readers", type=int, required=True)
    parser.add_argument("--uploads", type=int, required=True)
    parser.add_argument("--size-bytes", type=int, required=True)
    parser.add_argument("--slow-s", type=float, required=True)
    parser.add_argument("--reader-bytes-per-s", type=float, default=RATE_BYTES_PER_S)
    parser.add_argument("--chunked", action="store_true", help="instead of Content-Length")
    parser.add_argument("--ca", type=Path, help="speak TLS, and trust this authority")
    given = parser.parse_args(arguments)
    transfers = Transfers(
        port=given.port,
        size_bytes=given.size_bytes,
        slow_s=given.slow_s,
        reader_bytes_per_s=given.reader_bytes_per_s,
        chunked=given.chunked,
        tls=None if given.ca is None else ssl.create_default_context(cafile=given.ca),
    )
    print(json.dumps(uvloop.run(run(transfers, readers=given.readers, uploads=given.uploads))))
    return 0


# Private


async def _head(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Broken(head.split(b"\r\n", 1)[0].decode("latin-1"))
    return head


if __name__ == "__main__":
    sys.exit(main())
