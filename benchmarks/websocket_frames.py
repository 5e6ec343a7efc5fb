"""The handshake and the short frames of RFC 6455 that the echo and its load need. Pure: bytes in, bytes out."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

# Section 1.3: what the server's answer to the key is made with.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL_BINARY: Final = 0x82
_CLOSE: Final = 0x88
_MASKED: Final = 0x80
_HEAD_BYTES: Final = 2
_MASK_BYTES: Final = 4
# Section 5.2: above this, the length takes more than seven bits.
LONGEST_BYTES: Final = 125


class NotShort(ValueError):
    """A frame that this knows nothing of."""


def accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def from_server(payload: bytes) -> bytes:
    return bytes((_FINAL_BINARY, len(payload))) + payload


def from_client(payload: bytes, mask: bytes) -> bytes:
    return bytes((_FINAL_BINARY, _MASKED | len(payload))) + mask + _masked(payload, mask)


def read_client(data: bytes) -> tuple[list[bytes], bytes, bool]:
    """The payloads of whole frames, what is left over, and whether the client wants to close."""
    payloads: list[bytes] = []
    at = 0
    while len(data) - at >= _HEAD_BYTES:
        opcode, length = data[at], data[at + 1]
        size = length - _MASKED
        if opcode == _CLOSE:
            return payloads, b"", True
        if opcode != _FINAL_BINARY or not 0 <= size <= LONGEST_BYTES:
            raise NotShort(f"a frame that begins with {data[at : at + _HEAD_BYTES]!r}")
        begin = at + _HEAD_BYTES + _MASK_BYTES
        if len(data) < begin + size:
            break
        payloads.append(_masked(data[begin : begin + size], data[begin - _MASK_BYTES : begin]))
        at = begin + size
    return payloads, data[at:], False


# Private


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    pad = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
