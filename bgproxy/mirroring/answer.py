"""What one side has answered, as far as a comparison needs it: its head, and its body's size and digest.

A body is kept only where a comparison may have to look into it: JSON without a content coding, up to a limit.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from bgproxy.http1 import framing
from bgproxy.http1.framing import CHUNKED, NONE, UNTIL_CLOSE, ChunkedScanner
from bgproxy.http1.head import ResponseHead

DIGEST_BYTES: Final = 16

_JSON: Final = re.compile(rb"(?i)application/(?:[!#$%&'*.^_`|~0-9a-z-]+\+)?json[ \t]*(?:;.*)?").fullmatch


class Answer:
    """Fed as the bytes come, from the head on. `ended` is whether the body has come to its end."""

    __slots__ = (
        "_digest",
        "_left",
        "_limit_bytes",
        "_method",
        "_pieces",
        "_scanner",
        "ended",
        "head",
        "latency_us",
        "size_bytes",
    )

    def __init__(self, method: bytes, limit_bytes: int) -> None:
        self._method = method
        self._limit_bytes = limit_bytes
        self._left = NONE
        self._scanner: ChunkedScanner | None = None
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._pieces: list[bytes] | None = None
        self.head: ResponseHead | None = None
        self.latency_us = 0
        self.size_bytes = 0
        self.ended = False

    def begin(self, head: ResponseHead, latency_us: int) -> None:
        """The final response's head; `latency_us` is how long it took."""
        self.head = head
        self.latency_us = latency_us
        self._left = framing.response_body(self._method, head.status, head.fields)
        if self._left == NONE:
            self.ended = True
        elif self._left == CHUNKED:
            self._scanner = ChunkedScanner(502, decode=True)
        if is_json(head):
            self._pieces = []

    def feed(self, data: bytes) -> bytes:
        """Takes bytes as they came from the upstream; returns those behind the body. Raises 502."""
        if self.ended:
            return data
        rest = b""
        if self._scanner is not None:
            data, rest = self._scanner.feed(data)
            self.ended = self._scanner.done
        elif self._left != UNTIL_CLOSE:
            data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
            self.ended = self._left == NONE
        self._take(data)
        return rest

    def close(self) -> None:
        """The upstream has closed the connection cleanly: so ends a body that has no other end."""
        if self.head is not None and self._left == UNTIL_CLOSE:
            self.ended = True

    @property
    def is_whole(self) -> bool:
        """Whether all of its body can be compared."""
        return self.ended and self.size_bytes <= self._limit_bytes

    @property
    def digest(self) -> bytes:
        return self._digest.digest()

    @property
    def json_text(self) -> bytes | None:
        """The body, if it says that it is JSON."""
        return None if self._pieces is None else b"".join(self._pieces)

    # Private

    def _take(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:
            self._pieces = None
            return
        self._digest.update(data)
        if self._pieces is not None:
            self._pieces.append(data)


def is_json(head: ResponseHead) -> bool:
    """By its content type, and readable as it is."""
    content_type = head.fields.get(b"content-type")
    coding = head.fields.get(b"content-encoding")
    return content_type is not None and bool(_JSON(content_type)) and coding in (None, b"", b"identity")
