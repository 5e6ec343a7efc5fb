"""The part of a request's body that was not there with its head: where it ends, and how much it may be."""

from __future__ import annotations

from bgproxy.errors import ProxyError
from bgproxy.http1.framing import CHUNKED, ChunkedScanner, request_body
from bgproxy.http1.head import Fields


def too_large() -> ProxyError:
    return ProxyError(413, "the request body is larger than this service takes")


class RequestBody:
    """`done` once all of it was taken. `taken` counts the bytes that go on, chunk sizes included."""

    __slots__ = ("_left", "_limit", "_scanner", "done", "taken")

    def __init__(self, fields: Fields) -> None:
        self._left = left = request_body(fields)
        self._scanner = ChunkedScanner(400) if left == CHUNKED else None
        self._limit: int | None = None
        self.done = left == 0
        self.taken = 0

    def limit(self, most_bytes: int) -> None:
        """Raises `ProxyError` 413 if the body is known to be larger, or later, when it turns out to be."""
        if self._left + self.taken > most_bytes or self.taken > most_bytes:
            raise too_large()
        self._limit = most_bytes

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` is this body, and what follows it. Raises `ProxyError` 400 or 413."""
        if self._scanner is not None:
            body, rest = self._scanner.feed(data)
            self.done = self._scanner.done
        else:
            left = self._left
            body, rest = (data, b"") if len(data) <= left else (data[:left], data[left:])
            self._left = left = left - len(body)
            self.done = left == 0
        self.taken += len(body)
        if self._limit is not None and self.taken > self._limit:
            raise too_large()
        return body, rest
