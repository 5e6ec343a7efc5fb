"""The two ends of a conversation through a proxy, on real sockets: what each sends and gets.

A text stands for a message with CRLF line ends; bytes are sent and compared as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from difflib import unified_diff
from pathlib import Path
from typing import Any, NamedTuple

from bgproxy.model import Health, UpstreamView

# Generous: reached only when something is broken.
PATIENCE_S = 5.0
NARROW_BYTES = 4096


def wire(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.replace("\n", "\r\n").encode()


def narrow(sock: Any, buffer: int) -> None:
    """Lets the kernel hold next to nothing in a buffer (SO_SNDBUF or SO_RCVBUF) of that socket."""
    sock.setsockopt(socket.SOL_SOCKET, buffer, NARROW_BYTES)


class Response(NamedTuple):
    status: int
    fields: dict[str, str]  # names in lower case
    body: str


class Peer:
    """One end of a connection: a client's, or the one that an upstream has accepted."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.sent_bytes = 0
        self._received = b""

    # What it does

    async def sends(self, message: str | bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_sendall(self.socket, wire(message))

    async def pours(self, data: bytes) -> None:
        """Sends as much as the other side lets it, and counts."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), 65536):
            piece = data[start : start + 65536]
            await loop.sock_sendall(self.socket, piece)
            self.sent_bytes += len(piece)

    def half_closes(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def closes(self) -> None:
        self.socket.close()

    def aborts(self) -> None:
        """Resets the connection, as the kernel of a killed process does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # What it gets

    async def gets(self, message: str | bytes) -> None:
        """Exactly these bytes come next; more may follow."""
        expected = wire(message)
        ending = "nothing more came"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(self._received) < len(expected) and expected.startswith(self._received):
                    try:
                        if not await self._reads():
                            ending = "the connection was closed"
                            break
                    except ConnectionResetError:
                        ending = "the connection was aborted"
                        break
        got, self._received = self._received[: len(expected)], self._received[len(expected) :]
        if got != expected:
            raise AssertionError(_difference(expected, got + self._received, ending))

    async def gets_until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            while end not in self._received:
                assert await self._reads(), f"closed before {end!r}; got {self._received!r}"
        message, _, self._received = self._received.partition(end)
        return message + end

    async def gets_response(self) -> Response:
        """A response with a Content-Length, or without a body."""
        first, *lines = (await self.gets_until(b"\r\n\r\n"))[:-4].decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(fields.get("content-length", 0))
        return Response(int(first.split(" ")[1]), fields, (await self.gets_bytes(size)).decode())

    async def gets_bytes(self, size: int) -> bytes:
        pieces, left = [self._received], size - len(self._received)
        self._received = b""
        async with asyncio.timeout(PATIENCE_S):
            while left > 0:
                assert await self._reads(), f"closed after {size - left} of {size} bytes"
                pieces.append(self._received)
                left -= len(self._received)
                self._received = b""
        data = b"".join(pieces)
        self._received = data[size:]
        return data[:size]

    async def gets_end(self) -> None:
        """Nothing more, and a clean close."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._reads():
                pass
        assert self._received == b""

    async def gets_abort(self) -> bytes:
        """A connection that is reset, not closed; returns what came before."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self._reads():
                    pass
            except ConnectionResetError:
                return self._received
        raise AssertionError(f"a clean end instead of an abort, after {self._received!r}")

    async def gets_cut_off(self) -> bytes:
        """Any end at all; returns what came before. For messages whose framing shows that they are cut."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                while await self._reads():
                    pass
        return self._received

    def has_nothing(self) -> bool:
        """True if no byte, end or abort is there to be read now."""
        if self._received:
            return False
        try:
            self._received = self.socket.recv(1)
        except BlockingIOError:
            return True
        return False

    # Private

    async def _reads(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 20)
        self._received += data
        return data


class ScriptedUpstream:
    """A listening socket that does what the test says, on connections that the test accepts."""

    def __init__(self, number: int, unix_path: Path | None) -> None:
        self.name = f"upstream-{number}"
        self.place = number + 1, 1000 + number  # slot and tag
        self.peers: list[Peer] = []
        if unix_path is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(unix_path))
            self.address = f"unix:{unix_path}"
        else:
            self.socket = socket.socket()
            self.socket.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.socket.listen(128)
        self.socket.setblocking(False)

    async def accepts(self) -> Peer:
        """The next connection; it fails if the proxy opens none."""
        async with asyncio.timeout(PATIENCE_S):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        sock.setblocking(False)
        peer = Peer(sock)
        self.peers.append(peer)
        return peer

    def is_unused(self) -> bool:
        """True if no connection waits to be accepted."""
        try:
            sock, _ = self.socket.accept()
        except BlockingIOError:
            return True
        sock.close()
        return False

    def refuses(self) -> None:
        """Stops listening: whoever connects is refused."""
        self.socket.close()

    def view(self, health: Health) -> UpstreamView:
        slot, tag = self.place
        return UpstreamView(self.name, self.address, 1, health, slot, tag)


def _difference(expected: bytes, got: bytes, ending: str) -> str:
    def lines(message: bytes) -> list[str]:
        return [repr(line)[2:-1] for line in message[:20_000].splitlines(keepends=True)]

    difference = "\n".join(unified_diff(lines(expected), lines(got), "expected", "got", lineterm=""))
    return f"{len(got)} bytes instead of {len(expected)}, then {ending}:\n{difference}"
