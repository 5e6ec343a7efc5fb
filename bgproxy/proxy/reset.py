"""Ends that cannot be taken for the end of a message: TCP resets.

A reset takes back what the kernel has not sent yet, because the peer's window is full. Who relays an abort waits
until that has gone, but not for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
from typing import Final

from bgproxy.proxy import limits
from bgproxy.proxy.secured import Secured

_NO_LINGER: Final = struct.pack("ii", 1, 0)  # for SO_LINGER: the last close sends a reset


def end_with_reset(sock: socket.socket) -> None:
    """The connection ends with a reset, whoever closes its last descriptor, and when."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def close_with_reset(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport | Secured) -> None:
    """Closes a side so that it learns of an abort, behind what was written before if it takes that."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return  # below TLS it is gone too, which is about to be said
    end_with_reset(sock)
    if sock.family != socket.AF_UNIX and (transport.get_write_buffer_size() or _unsent_bytes(sock.fileno())):
        with contextlib.suppress(OSError):  # there is no descriptor left, so it cannot be waited for
            # As long as this one is open, the transport's close is not the last one.
            descriptor = os.dup(sock.fileno())
            until = loop.time() + limits.TUNNEL_FLUSH_S
            loop.call_later(limits.UNSENT_LOOK_S, _close_when_sent, loop, transport, descriptor, until)
    if isinstance(transport, Secured):
        transport.close_abruptly()
    else:
        transport.close()


# Private


def _close_when_sent(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport | Secured, descriptor: int, until: float
) -> None:
    if loop.time() < until and (transport.get_write_buffer_size() or _unsent_bytes(descriptor)):
        loop.call_later(limits.UNSENT_LOOK_S, _close_when_sent, loop, transport, descriptor, until)
    else:
        os.close(descriptor)


def _unsent_bytes(descriptor: int) -> int:
    """What the peer's kernel has not acknowledged (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), "little")
