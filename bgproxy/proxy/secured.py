"""A connection with TLS, made to keep no more than a plain one does.

uvloop's TLS and OpenSSL keep, for as long as the connection lives, room for all that they once read or wrote at
once. So here neither is given much at once. It never looks at what goes through.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from bgproxy.proxy.limits import KIB
from bgproxy.proxy.portions import Portions, Reader

# Of what was written and is not sent, twice: above TLS, instead of 512 KiB, and below it, instead of 64 KiB.
WRITE_BUFFER_BYTES: Final = 16 * KIB
# Of what is encrypted at once: two records.
WRITE_BYTES: Final = 32 * KIB
# Of what is read from the socket at once, instead of 256 KiB. A third less saves little memory, and costs time.
READ_BYTES: Final = 40 * KIB


def narrow(transport: asyncio.Transport) -> None:
    """Reads little at once. Call it with the transport below TLS, as soon as TLS is its protocol."""
    if transport.is_closing():
        return
    transport.pause_reading()
    transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
    transport.set_protocol(_Narrow(cast("asyncio.BufferedProtocol", transport.get_protocol())))
    transport.resume_reading()  # which is when the loop looks at how to read


class Secured(asyncio.Transport):
    """Stands between a protocol and its transport with TLS. Make it as soon as the handshake is over."""

    __slots__ = ("_tls",)

    def __init__(self, tls: asyncio.Transport) -> None:
        """uvloop goes on reading from the socket while the protocol has paused, up to 256 KiB, and drops all that
        if the peer closes meanwhile: the end of a response that a slow client is still waiting for. With a
        limit of one byte it stops reading as soon as there is something to keep. (With 0 it stops for ever.)
        """
        self._tls = tls
        cast("Any", tls).set_read_buffer_limits(high=1, low=0)  # typeshed does not know it
        tls.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    # asyncio.WriteTransport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) <= WRITE_BYTES:
            self._tls.write(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), WRITE_BYTES):
            self._tls.write(view[start : start + WRITE_BYTES])

    def can_write_eof(self) -> bool:
        return self._tls.can_write_eof()

    def get_write_buffer_size(self) -> int:
        return self._tls.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._tls.get_write_buffer_limits()

    def abort(self) -> None:
        self._tls.abort()

    # asyncio.ReadTransport

    def is_reading(self) -> bool:
        return self._tls.is_reading()

    def pause_reading(self) -> None:
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        self._tls.resume_reading()

    # asyncio.BaseTransport

    def get_extra_info(self, name: str, default: object = None) -> Any:
        return self._tls.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._tls.is_closing()

    def close(self) -> None:
        self._tls.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Whoever is given bytes is told them in portions, without uvloop's 256 KiB for each."""
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol = Portions(cast("Reader", protocol))
        self._tls.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._tls.get_protocol()


# Private


class _Narrow(asyncio.BufferedProtocol):
    """Stands between a socket's transport and TLS, and gives the loop no more than the beginning of its buffer."""

    __slots__ = ("_tls",)

    def __init__(self, tls: asyncio.BufferedProtocol) -> None:
        self._tls = tls

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._tls.get_buffer(sizehint))[:READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self._tls.buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        return self._tls.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tls.connection_lost(exc)
        del self._tls  # uvloop keeps our methods, and in a circle

    def pause_writing(self) -> None:
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        self._tls.resume_writing()
