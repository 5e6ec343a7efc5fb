"""The demonstration's app as a process that tests speak to."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bgproxy.demo import message
from bgproxy.demo.message import Message


class AppProcess(NamedTuple):
    process: asyncio.subprocess.Process
    port: int
    journal: Path


@asynccontextmanager
async def started(journal: Path, *, version: str = "v1", name: str = "blue-1") -> AsyncIterator[AppProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bgproxy.demo.app", "--version", version, "--name", name, "--journal", str(journal)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    word, port = (await process.stdout.readline()).split()
    assert word == b"ready"
    yield AppProcess(process, int(port), journal)
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


class Peer:
    """A connection that sends bytes and reads whole messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def message(self) -> Message:
        while (found := message.read(self._buffer)) is None:
            data = await self._reader.read(65536)
            assert data, f"closed after {self._buffer!r}"
            self._buffer += data
        self._buffer = self._buffer[found.size :]
        return found

    async def ask(self, start: bytes, body: bytes = b"", *fields: bytes) -> Message:
        length = b"Content-Length: %d" % len(body)
        self.send(b"\r\n".join([start + b" HTTP/1.1", b"Host: a", length, *fields, b"", body]))
        return await self.message()

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return self._buffer + await self._reader.read()

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self._writer.transport.abort()
        else:
            self._writer.close()
