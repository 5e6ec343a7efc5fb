"""Reading what is long in portions, so that whoever is slow has a bounded part of it here.

The loop reads 250 KiB at once, and what was read has to be kept until the other side takes it. So a connection
that has brought more than a portion at once is read in portions from then on, for as long as it lives. Short
messages never come here. It never looks at what comes.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

# A body of 64 KiB and its head are not long yet.
PORTION_BYTES: Final = 80 * 1024
# One for all: a portion is copied out before the next one is read, of whatever connection.
_BUFFER: Final = memoryview(bytearray(PORTION_BYTES))


class Reader(Protocol):
    """What an `asyncio.Protocol` has to be for this."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Portions(asyncio.BufferedProtocol):
    """Stands between a transport and its protocol."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: Reader) -> None:
        self._protocol = protocol

    # asyncio.BufferedProtocol

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as much as there may be
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(_BUFFER[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
        del self._protocol  # uvloop's TLS keeps our methods, and we would keep it

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


def read_in_portions(transport: asyncio.Transport, protocol: Reader) -> None:
    """From the next read on. Call it before anything pauses the transport or closes it."""
    transport.pause_reading()
    transport.set_protocol(Portions(protocol))
    transport.resume_reading()  # which is when the loop looks at how to read
