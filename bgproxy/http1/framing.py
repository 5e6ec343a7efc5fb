"""Where a message body ends (RFC 9112 sections 6 and 7).

A body is counted, never stored. `NONE`, a positive length, `CHUNKED` and `UNTIL_CLOSE` are the only
answers; anything ambiguous has been refused by `fields` before.
"""

from __future__ import annotations

import re
from typing import Final

from bgproxy.errors import ProxyError
from bgproxy.http1 import limits
from bgproxy.http1.fields import TOKEN, Fields

NONE: Final = 0
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

# What a chunked body's next byte belongs to.
_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_IN_TRAILER: Final = 3
_DONE: Final = 4

# No group is repeated possessively: CPython before 3.11.5 forgets to go back where one has failed halfway
# (python/cpython#106052), and takes "1;" for a chunk size. Nothing here can match in two ways, so it costs nothing.
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_PLAIN_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n").match
_CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*+;[ \t]*+"
    + TOKEN
    + rb"(?:[ \t]*+=[ \t]*+(?:"
    + TOKEN
    + rb"|"
    + _QUOTED
    + rb"))?)*\r\n"
).match
_TRAILER: Final = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*\r\n").match
# RFC 9110 section 6.5.1: fields that a trailer must not carry, and those that a proxy vouches for.
_FRAMING_TRAILER: Final = re.compile(
    rb"(?i)(?:^|\n)(?:transfer[-_]encoding|content[-_]length|host|trailer|connection|keep-alive|proxy-connection|te"
    rb"|upgrade|authorization|content-encoding|content-type|content-range|set-cookie|cookie|expect|max-forwards"
    rb"|cache-control|via|forwarded|x[-_]forwarded[-_](?:for|host|port|proto)|x[-_]request[-_]id|x[-_]bgproxy[-_]mirror):"
).search
# Whole chunks of 1 to 15 bytes without extensions: a peer may send millions of them, and the loop below
# would take 50 ms for what one read brings. The bound on the repetition bounds what `re` keeps to go back. Tried behind
# such a chunk only: a try that comes to nothing costs as much as all else about a chunk.
_TINY_CHUNKS: Final = re.compile(
    rb"(?s:%b){1,1024}"
    % b"|".join(b"[%x%X]\r\n.{%d}\r\n" % (size_bytes, size_bytes, size_bytes) for size_bytes in range(1, 16))
).match


def request_body(fields: Fields) -> int:
    """How a request's body is framed (section 6.3, points 3 to 7)."""
    if fields.chunked:
        return CHUNKED
    return fields.content_length or NONE


def response_body(method: bytes, status: int, fields: Fields) -> int:
    """How the body of a response to `method` is framed (section 6.3, points 1 to 8)."""
    if method == b"HEAD" or status < 200 or status in (204, 304):
        return NONE
    if fields.chunked:
        return CHUNKED
    length = fields.content_length
    return UNTIL_CLOSE if length is None else length


class ChunkedScanner:
    """Follows a chunked body and says which bytes are proven to belong to it.

    With `decode` it hands on the data alone (for an HTTP/1.0 client), else the encoding, without the chunk
    extensions: they are for the next hop only (RFC 9112 section 7.1.1), and parsers disagree about them.
    `status` is raised as a `ProxyError` for a malformed body: 400 for a client's, 502 for an upstream's.
    """

    __slots__ = ("_decode", "_extensions_bytes", "_pending", "_remaining", "_state", "_status")

    def __init__(self, status: int, *, decode: bool = False) -> None:
        self._status = status
        self._decode = decode
        self._pending = b""  # an incomplete line; bounded by the limits of its kind
        self._remaining = 0
        self._extensions_bytes = 0
        self._state = _SIZE

    @property
    def done(self) -> bool:
        return self._state == _DONE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Takes what was read; returns (what to hand on, what follows the body: only when done)."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        size = len(data)
        decode = self._decode
        state = self._state
        position = 0
        handed_on = 0  # `pieces` has what is to be handed on of the bytes before
        pieces: list[bytes] = []
        tiny = False
        while position < size and state != _DONE:
            if state == _SIZE:
                if tiny and not decode and (chunks := _TINY_CHUNKS(data, position)) is not None:
                    position = chunks.end()
                    continue
                line = _PLAIN_CHUNK_LINE(data, position)
                if line is not None:
                    position = line.end()
                else:
                    line = _CHUNK_LINE(data, position)
                    if line is None:
                        self._check_partial(data, position, limits.CHUNK_LINE_BYTES, "chunk size")
                        break
                    begin, end = line.span(1)
                    position = line.end()
                    self._count_extensions(position - begin, position - end - 2)
                    if not decode:
                        pieces.append(data[handed_on:end])
                        handed_on = position - 2
                remaining = int(line[1], 16)
                tiny = remaining < 16
                end = position + remaining
                if remaining == 0:
                    state = _IN_TRAILER
                elif data.startswith(b"\r\n", end):
                    if decode:
                        pieces.append(data[position:end])
                    position = end + 2
                else:
                    self._remaining = remaining
                    state = _DATA
            elif state == _DATA:
                end = min(size, position + self._remaining)
                self._remaining -= end - position
                if decode:
                    pieces.append(data[position:end])
                position = end
                if self._remaining == 0:
                    state = _DATA_END
            elif state == _DATA_END:
                if data[position] != 0x0D or (size - position > 1 and data[position + 1] != 0x0A):
                    raise ProxyError(self._status, "a chunk is longer than its size says")
                if size - position < 2:
                    break
                position += 2
                state = _SIZE
            else:
                trailer = _TRAILER(data, position)
                if trailer is None:
                    if data.find(b"\r\n\r\n", position) >= 0:
                        raise ProxyError(self._status, "a trailer field is malformed")
                    self._check_partial(data, position, limits.TRAILER_BYTES, "trailer")
                    break
                if trailer.end() - position > limits.TRAILER_BYTES:
                    raise ProxyError(self._status, "a trailer is too long")
                if _FRAMING_TRAILER(trailer[0]):
                    raise ProxyError(self._status, "a trailer carries a field that only a head may have")
                position = trailer.end()
                state = _DONE
        self._state = state
        rest = data[position:]
        if state != _DONE:
            self._pending = rest
            rest = b""
        if not decode:
            if not pieces:
                return (data if position == size else data[:position]), rest
            pieces.append(data[handed_on:position])
        return b"".join(pieces), rest

    # Private

    def _count_extensions(self, line_bytes: int, extensions_bytes: int) -> None:
        self._extensions_bytes += extensions_bytes
        if line_bytes > limits.CHUNK_LINE_BYTES or self._extensions_bytes > limits.CHUNK_EXTENSIONS_BYTES:
            raise ProxyError(self._status, "the chunk extensions are too long")

    def _check_partial(self, data: bytes, position: int, limit_bytes: int, what: str) -> None:
        partial = data[position:]
        if len(partial) > limit_bytes:
            raise ProxyError(self._status, f"a {what} is too long")
        if what == "chunk size" and (b"\n" in partial or not partial[:1].isalnum()):
            raise ProxyError(self._status, "a chunk size is malformed")
        if partial.count(b"\n") != partial.count(b"\r\n"):
            raise ProxyError(self._status, f"a line of a {what} ends with a bare LF")
