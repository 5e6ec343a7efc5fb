"""WebSocket frames (RFC 6455 section 5) as they pass by: where they end, and the close frame that bgproxy adds.

Pure: bytes in, bytes out. It must never change, unmask or keep a payload, and what messages frames make up
is none of its business: a close frame is legal wherever a frame ends (section 5.4).
"""

from __future__ import annotations

from typing import Final

GOING_AWAY: Final = 1001  # section 7.4.1

_FIN: Final = 0x80
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_OPCODE: Final = 0x0F
_CLOSE: Final = 0x08
_LENGTH: Final = 0x7F
_LENGTH_16: Final = 126  # the length is in the next two bytes, above it in eight; never of a control frame
_KEY_BYTES: Final = 4


def is_websocket(asked: bytes | None, agreed: bytes | None) -> bool:
    """True if the Upgrade field of a 101 names the protocol, and that of its request offered it."""
    if asked is None or agreed is None or agreed.strip().lower() != b"websocket":
        return False
    return b"websocket" in [token.strip() for token in asked.lower().split(b",")]


def close_frame(code: int, key: bytes = b"") -> bytes:
    """A close frame without a reason; one to a server has a `key` of four unpredictable bytes (section 5.3)."""
    payload = code.to_bytes(2, "big")
    if not key:
        return bytes((_FIN | _CLOSE, len(payload))) + payload
    masked = bytes(byte ^ key[index] for index, byte in enumerate(payload))
    return bytes((_FIN | _CLOSE, _MASKED | len(payload))) + key + masked


class FrameFollower:
    """Knows whether one direction is between two frames. `masked`: it comes from the client (section 5.1)."""

    __slots__ = ("_left", "_masked", "_overhead", "_partial", "broken", "closing", "ended")

    def __init__(self, *, masked: bool) -> None:
        self._masked = _MASKED if masked else 0
        self._overhead = _KEY_BYTES if masked else 0  # between length and payload
        self._left = 0  # bytes of this frame that are still to come
        self._partial = b""  # the beginning of a frame, as long as its length is not known
        self.broken = False  # this is no WebSocket, or a wrong one: nothing more is known
        self.closing = False  # the sender's close frame has begun; nothing of it follows that one
        self.ended = False  # a close frame has passed, or was added: nothing more may pass

    @property
    def at_boundary(self) -> bool:
        return not (self._left or self._partial or self.broken)

    @property
    def closed(self) -> bool:
        """True once the sender's close frame is complete."""
        return self.closing and not self._left

    def feed(self, data: bytes) -> None:
        """Follows what the sender has sent next."""
        left, size = self._left, len(data)
        if size <= left:
            self._left = left - size
            return
        self._left = 0
        if self.broken or self.closing:
            return
        if self._partial:
            data = self._partial + data
            size = len(data)
            self._partial = b""
        masked, overhead = self._masked, self._overhead
        at = left
        while at < size:
            behind = at + 2
            if behind > size:
                self._partial = data[at:]
                return
            first, second = data[at], data[at + 1]
            length = second & _LENGTH
            if second & _MASKED != masked:
                self.broken = True
                return
            if first & _CONTROL:
                if length >= _LENGTH_16 or not first & _FIN:
                    self.broken = True
                    return
                if first & _OPCODE == _CLOSE:
                    self.closing = True
                    self._left = max(behind + overhead + length - size, 0)
                    return
            elif length >= _LENGTH_16:
                behind += 2 if length == _LENGTH_16 else 8
                if behind > size:
                    self._partial = data[at:]
                    return
                length = int.from_bytes(data[at + 2 : behind], "big")
                if length >> 63:
                    self.broken = True
                    return
            at = behind + overhead + length
        self._left = at - size

    def feed_last(self, data: bytes, close: bytes) -> bytes:
        """Follows too, and returns what may pass of a direction that is to end with `close`.

        That is the frame in progress, then `close` unless it was the sender's own, and then nothing
        (section 5.5.1).
        """
        if self.ended:
            self.feed(data)
            return b""
        size = self._feed_frame(data)
        passing = data[:size]
        if self.at_boundary:
            self.ended = True
            if not self.closing:
                passing += close
            self.feed(data[size:])
        return passing

    # Private

    def _feed_frame(self, data: bytes) -> int:
        """Follows to the end of the frame in progress; returns how many bytes of `data` that is."""
        at = 0
        while self._partial and at < len(data):
            self.feed(data[at : at + 1])
            at += 1
        rest = min(self._left, len(data) - at)
        self._left -= rest
        return at + rest
