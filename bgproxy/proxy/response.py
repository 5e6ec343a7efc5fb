"""A response on its way to the client, piece by piece, until its framing says that it is complete.

Nothing is kept: what has come is passed on at once. A response that is complete in one read and needs no
change never gets here, see `Exchange`.
"""

from __future__ import annotations

import asyncio

from bgproxy.http1 import rewrite
from bgproxy.http1.framing import CHUNKED, NONE, UNTIL_CLOSE, ChunkedScanner, response_body
from bgproxy.http1.head import RequestHead, ResponseHead
from bgproxy.http1.rewrite import Coding


class Response:
    """`keep` is whether the client's connection stays open afterwards, `reusable` whether the upstream's may.

    `sent` counts the bytes for the client, head included.
    """

    __slots__ = ("_client", "_coding", "_encode", "_left", "_scanner", "head", "keep", "reusable", "sent")

    def __init__(
        self,
        client: asyncio.Transport,
        request: RequestHead,
        head: ResponseHead,
        *,
        keep: bool,
        reusable: bool,
    ) -> None:
        fields, minor = head.fields, request.minor
        left = response_body(request.method, head.status, fields)
        coding = Coding.AS_IS
        if fields.chunked and not minor:
            coding = Coding.REMOVED  # RFC 9112 section 6.1: an HTTP/1.0 client must not get Transfer-Encoding
        if left == UNTIL_CLOSE:
            reusable = False
            if minor:
                coding = Coding.ADDED
            else:
                keep = False
        elif left == CHUNKED and not minor:
            keep = False
        self._client = client
        self._left = left
        self._scanner = ChunkedScanner(502, decode=not minor) if left == CHUNKED else None
        self._encode = coding is Coding.ADDED
        self._coding = coding
        self.head = head
        self.keep = keep
        self.reusable = reusable and head.minor >= 1 and not fields.close
        self.sent = 0

    def begin(self, minor: int, data: bytes, *, set_cookie: bytes, pool: bytes) -> bytes | None:
        """Sends the head, with the first of the body in one write; `minor` is the client's version. As `feed`."""
        connection = b"" if self.keep and minor else (b"keep-alive" if self.keep else b"close")
        if self.head.status == 426:  # RFC 9110 section 15.5.22: with the protocols that the upstream wants
            connection = b"Upgrade, " + connection if connection else b"Upgrade"
        out = rewrite.response_head(
            self.head, connection=connection, set_cookie=set_cookie, pool=pool, coding=self._coding
        )
        if self._left == NONE:
            self._write(out)
            return data
        return self.feed(data, out)

    def feed(self, data: bytes, head: bytes = b"") -> bytes | None:
        """Passes on what has come. None: there is more; else the end, and what came behind it.

        Raises `ProxyError` if it is malformed: what was proven before has been sent.
        """
        left = self._left
        if left > 0:
            size = len(data)
            if size < left:
                self._left = left - size
                self._write(head + data if head else data)
                return None
            self._left = NONE
            self._write(head + data[:left])
            return data[left:]
        scanner = self._scanner
        if scanner is not None:
            try:
                data, rest = scanner.feed(data)
            except BaseException:
                if head:
                    self._write(head)
                raise
            if scanner.done:
                self._left = NONE
            if head or data:
                self._write(head + data)
            return rest if scanner.done else None
        if self._encode and data:
            self._write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        elif head or data:
            self._write(head + data)
        return None

    def is_complete(self) -> bool:
        return self._left == NONE

    def end_of_file(self) -> bool:
        """The upstream has closed: True if that completes the response, which the client is then told."""
        if self._left != UNTIL_CLOSE:
            return False
        self._left = NONE
        if self._encode:
            self._write(b"0\r\n\r\n")
        return True

    # Private

    def _write(self, data: bytes) -> None:
        self.sent += len(data)
        self._client.write(data)
