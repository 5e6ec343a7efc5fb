"""Runs cases, one after the other, against one proxy with two upstreams of ours behind it.

Cases of one lane never overlap, so that everything that arrives at its upstreams belongs to the case that runs.
Knows nothing of what is right; see `judge`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final, cast

from benchmarks.wire.case import (
    ANSWER,
    Action,
    Case,
    Close,
    Deaf,
    HalfClose,
    Pause,
    Reconnect,
    Reset,
    Script,
    Send,
    Until,
    Whole,
    sized,
)
from benchmarks.wire.observed import ClientSide, Observed, UpstreamSide

UPSTREAMS: Final = ("a", "b")
# How long a script waits for what it expects: enough for three tries that end at a limit of `proxies`.
PATIENCE_S: Final = 6.5
# A case has ended when all its responses are there and nothing has moved for so long.
QUIET_S: Final = 0.2
CASE_S: Final = 20.0
# How long a proxy may take to notice that the upstreams have closed, before the next case.
SETTLE_S: Final = 0.5
NOT_UNDERSTOOD: Final = sized(b"", b"Connection: close", line=b"HTTP/1.1 400 Bad Request")
READ_BYTES: Final = 1 << 16
CONNECT_S: Final = 2.0


class Lane:
    """Made by `opened`. `proxy_port` is set once the proxy runs."""

    def __init__(self) -> None:
        self.proxy_port = 0
        self.ports: dict[str, int] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._case: Case | None = None
        self._seen = Observed(())
        self._scripts_begun = 0
        self._settling = False
        self._moved = asyncio.Event()
        self._moved_at = 0.0

    @classmethod
    @asynccontextmanager
    async def opened(cls) -> AsyncIterator[Lane]:
        lane = cls()
        for name in UPSTREAMS:
            await lane._listen(name)
        try:
            yield lane
        finally:
            for server in lane._servers.values():
                server.close()
            await lane._settle()

    async def run(self, case: Case) -> Observed:
        for name in case.refusing:
            self._servers[name].close()
        self._case, self._seen, self._scripts_begun = case, Observed(case.methods), 0
        began = monotonic()
        try:
            async with asyncio.timeout(CASE_S):
                await self._client(case)
        except TimeoutError:
            self._seen.missed.append(f"the case did not end within {CASE_S:g} s")
        seen = self._seen
        seen.elapsed_s = monotonic() - began
        self._case, self._seen = None, Observed(())
        await self._settle()
        for name in case.refusing:
            await self._listen(name)
        return seen

    # Private: the client

    async def _client(self, case: Case) -> None:
        reading: asyncio.Task[None] | None = None
        writer: asyncio.StreamWriter | None = None
        try:
            writer, reading = await self._connect()
            for action in case.client:
                if isinstance(action, Reconnect):
                    reading.cancel()
                    writer.close()
                    writer, reading = await self._connect()
                elif not await self._act(action, writer, "client", self._seen.clients[-1]):
                    break
            await self._rest(reading)
        finally:
            if reading is not None:
                reading.cancel()
            if writer is not None:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamWriter, asyncio.Task[None]]:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy_port)
        side = ClientSide()
        self._seen.clients.append(side)
        return writer, asyncio.create_task(self._read(reader, side))

    async def _rest(self, reading: asyncio.Task[None]) -> None:
        """Until the proxy has closed, or all responses are there and nothing moves, or for as long as it pays."""
        until = monotonic() + PATIENCE_S
        while not reading.done() and (left := until - monotonic()) > 0:
            quiet_in = self._moved_at + QUIET_S - monotonic()
            if quiet_in <= 0 and self._is_answered():
                return
            await self._movement(min(left, max(quiet_in, QUIET_S / 4)))
        # What was sent to an upstream at the very end may still be on its way.
        await asyncio.sleep(QUIET_S)

    def _is_answered(self) -> bool:
        if self._case is None or self._case.right.wants_end:
            return False
        responses = self._seen.responses
        return len(responses) == len(self._seen.methods) and all(each.whole for each in responses)

    # Private: the upstreams

    async def _listen(self, name: str) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving = asyncio.create_task(self._upstream(name, reader, writer))
            self._serving[serving] = writer
            try:
                await serving
            except asyncio.CancelledError:
                writer.transport.abort()
            finally:
                del self._serving[serving]

        server = await asyncio.start_server(serve, "127.0.0.1", self.ports.get(name, 0), reuse_address=True)
        self.ports[name] = server.sockets[0].getsockname()[1]
        self._servers[name] = server

    async def _upstream(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        side = UpstreamSide(name)
        seen = self._seen
        reading = asyncio.create_task(self._read(reader, side))
        answered = 0
        try:
            while seen is self._seen:
                if len(side.reader.requests) > answered:
                    answered += 1
                    if not await self._answer(side, answered, writer):
                        break
                elif reading.done() or side.reader.fault is not None:
                    break
                else:
                    await self._movement(PATIENCE_S)
            if side.reader.fault is not None and not writer.transport.is_closing():
                writer.write(NOT_UNDERSTOOD)
                _half_close(writer)
            await asyncio.wait([reading], timeout=SETTLE_S if seen is not self._seen else CASE_S)
        finally:
            reading.cancel()
            if not writer.transport.is_closing():
                writer.close()

    async def _answer(self, side: UpstreamSide, number: int, writer: asyncio.StreamWriter) -> bool:
        """One script; whether another request may follow on this connection."""
        scripts: tuple[Script, ...] = self._case.upstream if self._case is not None else ()
        index, self._scripts_begun = self._scripts_begun, self._scripts_begun + 1
        script = scripts[index] if index < len(scripts) else ANSWER
        for action in script:
            if isinstance(action, Whole):
                arrived = await self._wait(
                    lambda: side.reader.requests[number - 1].whole or side.end != "open"
                )
                if not arrived or not side.reader.requests[number - 1].whole:
                    return False
            elif not await self._act(action, writer, "upstream", side):
                return False
        return True

    async def _settle(self) -> None:
        """Closes what is open, so that the next case begins with nothing."""
        self._settling = True
        serving = dict(self._serving)
        for writer in serving.values():
            _half_close(writer)
        self._stir()
        if serving:
            _, late = await asyncio.wait(serving, timeout=SETTLE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._settling = False

    # Private: both

    async def _act(
        self, action: Action, writer: asyncio.StreamWriter, who: str, side: ClientSide | UpstreamSide
    ) -> bool:
        """Whether the script goes on."""
        match action:
            case Send(data, times, every_s):
                for _ in range(times):
                    over = self._settling or (times > 1 and side.end != "open")
                    if over or writer.transport.is_closing():
                        return False
                    writer.write(data)
                    await self._flushed(writer)
                    if every_s:
                        await asyncio.sleep(every_s)
            case Until(where, data):
                if not await self._wait(lambda: self._has(where, data)):
                    self._seen.missed.append(f"the {who} waited in vain for the {where} to get {data[:80]!r}")
                    return False
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Deaf(seconds):
                with suppress(RuntimeError):  # the connection has ended, which its reader notes
                    cast(asyncio.ReadTransport, writer.transport).pause_reading()
                    await asyncio.sleep(seconds)
                    cast(asyncio.ReadTransport, writer.transport).resume_reading()
            case HalfClose():
                _half_close(writer)
            case Close():
                await self._flushed(writer)
                writer.close()
                return False
            case Reset():
                reset(writer)
                return False
            case _:
                raise TypeError(f"{action} is not for the {who}")
        return True

    def _has(self, where: str, data: bytes) -> bool:
        sides: list[ClientSide] | list[UpstreamSide]
        sides = self._seen.clients if where == "client" else self._seen.upstreams
        return any(data in side.raw for side in sides)

    async def _flushed(self, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # the reader of this connection has noted how it ended

    async def _read(self, reader: asyncio.StreamReader, side: ClientSide | UpstreamSide) -> None:
        seen = self._seen
        try:
            while data := await reader.read(READ_BYTES):
                # Only now: a health check that connects and closes is no part of a case.
                if isinstance(side, UpstreamSide):
                    if not side.raw:
                        seen.upstreams.append(side)
                    side.reader.feed(data)
                side.raw += data
                self._stir()
            side.end = "closed"
        except OSError:
            side.end = "reset"
        self._stir()

    def _stir(self) -> None:
        self._moved_at = monotonic()
        self._moved.set()
        self._moved = asyncio.Event()

    async def _movement(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            pass  # the caller looks at the time, too

    async def _wait(self, condition: Callable[[], bool]) -> bool:
        until = monotonic() + PATIENCE_S
        while not condition():
            left = until - monotonic()
            if left <= 0:
                return False
            await self._movement(left)
        return True


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection so that the peer sees an error, and not an end."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def _half_close(writer: asyncio.StreamWriter) -> None:
    # An end that has been sent, or a peer that is gone: nothing is left to do.
    with suppress(OSError):
        if not writer.transport.is_closing():
            writer.write_eof()
