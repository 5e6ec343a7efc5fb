"""The ways in which an upstream fails a request that it has read, one function each, by the name of the fault.

Each says what is written and how the connection ends, and nothing else: which requests are failed, and what
is put into the books, is the upstream's affair.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bgproxy.demo import message

if TYPE_CHECKING:
    from benchmarks.faults.upstream import Answer, Connection

BYTE_S: Final = 0.01  # between two bytes of what is slow
LATE_S: Final = 0.2
# Between a part of an answer and the end of the connection, so that the part is on its way before.
PART_S: Final = 0.005
IDLE_S: Final = (0.001, 0.005)  # how long an idle connection is kept by a server that keeps none
OVERSIZED_BYTES: Final = 256 * 1024
MISCOUNTED_BYTES: Final = 10

_NO_LINGER: Final = struct.pack("ii", 1, 0)  # for SO_LINGER: a close sends a reset

Misbehaviour = Callable[["Connection", "Answer"], None]


def reset(transport: asyncio.Transport) -> None:
    """Ends a connection with RST."""
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()


def finish(transport: asyncio.Transport) -> None:
    """Ends a connection with FIN."""
    transport.close()


def _ends_after(part: Callable[[Answer], bytes], end: Callable[[asyncio.Transport], None]) -> Misbehaviour:
    """A part of the answer, possibly none, and then the end of the connection."""

    def misbehave(connection: Connection, answer: Answer) -> None:
        data = part(answer)
        if data:
            connection.transport.write(data)
            connection.later(PART_S, end, connection.transport)
        else:
            end(connection.transport)

    return misbehave


def _hangs_after(part: Callable[[Answer], bytes]) -> Misbehaviour:
    """A part of the answer, and then nothing, until the proxy has had enough."""

    def misbehave(connection: Connection, answer: Answer) -> None:
        connection.transport.write(part(answer))

    return misbehave


def _slow(split: Callable[[Answer], tuple[bytes, bytes]]) -> Misbehaviour:
    """One part at once and the other byte by byte, and all is well."""

    def misbehave(connection: Connection, answer: Answer) -> None:
        first, rest = split(answer)
        connection.transport.write(first)
        drip(connection, rest)

    def drip(connection: Connection, rest: bytes) -> None:
        if connection.transport.is_closing():
            return
        connection.transport.write(rest[:1])
        if len(rest) > 1:
            connection.later(BYTE_S, drip, connection, rest[1:])
        else:
            connection.answered()

    return misbehave


def _followed_by(more: Callable[[Answer], bytes]) -> Misbehaviour:
    """The answer, and in the same breath something that nobody has asked for."""

    def misbehave(connection: Connection, answer: Answer) -> None:
        connection.transport.write(answer.counted() + more(answer))
        connection.answered()

    return misbehave


def _leaves_idle(hint: bytes) -> Misbehaviour:
    """The answer; soon after it the connection is closed, unless it has been used again."""

    def misbehave(connection: Connection, answer: Answer) -> None:
        connection.transport.write(answer.counted(hint))
        connection.answered()
        connection.later(random.uniform(*IDLE_S), connection.leave)

    return misbehave


def _one_request(connection: Connection, answer: Answer) -> None:
    connection.transport.write(answer.counted(b"Connection: close\r\n"))
    connection.answered()
    finish(connection.transport)


def _fails(connection: Connection, answer: Answer) -> None:
    connection.transport.write(answer.error())
    connection.answered()


def _late(connection: Connection, answer: Answer) -> None:
    connection.later(LATE_S, _write, connection, answer)


def _write(connection: Connection, answer: Answer) -> None:
    if not connection.transport.is_closing():
        connection.transport.write(answer.counted())
        connection.answered()


def _split_head(answer: Answer) -> tuple[bytes, bytes]:
    return b"", answer.counted()[: answer.head_bytes] + answer.body


def _split_body(answer: Answer) -> tuple[bytes, bytes]:
    whole = answer.counted()
    return whole[: -len(answer.body)], answer.body


def _half_head(answer: Answer) -> bytes:
    return answer.counted()[:20]


def _half_counted(answer: Answer) -> bytes:
    return answer.counted()[: -(len(answer.body) // 2)]


def _half_chunked(answer: Answer) -> bytes:
    return answer.begun() + message.chunk(answer.body[: len(answer.body) // 2])


def _oversized_head(answer: Answer) -> bytes:
    return answer.counted(b"X-Large: %b\r\n" % (b"x" * OVERSIZED_BYTES))


MISBEHAVIOURS: Final[dict[str, Misbehaviour]] = {
    "reset": _ends_after(lambda _: b"", reset),
    "close": _ends_after(lambda _: b"", finish),
    "reset-in-head": _ends_after(_half_head, reset),
    "close-in-head": _ends_after(_half_head, finish),
    "reset-in-body": _ends_after(_half_counted, reset),
    "close-in-body": _ends_after(_half_counted, finish),
    "reset-in-chunks": _ends_after(_half_chunked, reset),
    "close-in-chunks": _ends_after(_half_chunked, finish),
    "hang": _hangs_after(lambda _: b""),
    "hang-in-chunks": _hangs_after(_half_chunked),
    "too-long": _hangs_after(lambda answer: answer.counted(counts=len(answer.body) + MISCOUNTED_BYTES)),
    "slow-head": _slow(_split_head),
    "slow-body": _slow(_split_body),
    "late": _late,
    "idle-close": _leaves_idle(b""),
    "idle-close-hint": _leaves_idle(b"Keep-Alive: timeout=1\r\n"),
    "one-request": _one_request,
    "garbage": _ends_after(lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n", finish),
    "http09": _ends_after(lambda answer: answer.body, finish),
    "double": _followed_by(lambda answer: answer.counted()),
    "extra": _followed_by(lambda answer: answer.body[:MISCOUNTED_BYTES]),
    "oversized-head": _ends_after(_oversized_head, finish),
    "error": _fails,
}
