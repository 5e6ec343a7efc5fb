"""HTTP/1 messages as the demo's app and load read them: whole, small, and strict about their end.

It must never use `bgproxy.http1`: the witness of a proxy cannot see with the proxy's eyes.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MESSAGE_BYTES: Final = 1024 * 1024  # a longer one is refused

_FIELDS = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)").findall
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)\r\n").match


class Message(NamedTuple):
    """`fields` have lower-case names; `size` is what the message took of the bytes it was read from."""

    start: bytes
    fields: dict[bytes, bytes]
    body: bytes
    size: int


class Malformed(Exception):
    """The bytes are not the beginning of any message that the demo knows."""


def read(data: bytes) -> Message | None:
    """The first message of `data`, or None as long as it is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        _check_size(len(data))
        return None
    head = data[:end]
    start = head.partition(b"\r\n")[0]
    fields = {name.lower(): value for name, value in _FIELDS(head)}
    body_at = end + 4
    length = fields.get(b"content-length")
    if b"transfer-encoding" in fields:
        if length is not None or fields[b"transfer-encoding"] != b"chunked":
            raise Malformed("a body is either counted or chunked")
        chunked = _read_chunks(data, body_at)
        return None if chunked is None else Message(start, fields, *chunked)
    if length is None:
        if start.startswith(b"HTTP/"):
            raise Malformed("the end of an answer has to be announced")
        length = b"0"
    if not length.isdigit():
        raise Malformed(f"Content-Length is {length!r}")
    size = body_at + int(length)
    _check_size(size)
    return Message(start, fields, data[body_at:size], size) if len(data) >= size else None


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body; without data, its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


# Private


def _read_chunks(data: bytes, position: int) -> tuple[bytes, int] | None:
    pieces: list[bytes] = []
    while True:
        line = _CHUNK_SIZE(data, position)
        if line is None:
            if b"\r\n" in data[position:]:
                raise Malformed("a chunk does not begin with its size")
            _check_size(len(data))
            return None
        begin = line.end()
        end = begin + int(line[1], 16)
        _check_size(end)
        if len(data) < end + 2:
            return None
        if data[end : end + 2] != b"\r\n":
            raise Malformed("a chunk is longer than its size says")
        if end == begin:
            return b"".join(pieces), end + 2
        pieces.append(data[begin:end])
        position = end + 2


def _check_size(size: int) -> None:
    if size > MESSAGE_BYTES:
        raise Malformed(f"a message is longer than {MESSAGE_BYTES} bytes")
