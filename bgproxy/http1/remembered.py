"""The request heads of one listener, and what is remembered of them, whatever connection they came by.

Clients differ in what they ask for and in who they are, and are alike in the rest: the same head, the same header
block behind another request line, or one that differs in its cookie only is not read twice. What is remembered is
bounded in number and size, and nothing is ever taken for what it is not: the same bytes mean the same, and a cookie
means nothing to `Fields`.
"""

from __future__ import annotations

import re
from typing import Final

from bgproxy.http1.fields import VALUE, Fields, request_fields
from bgproxy.http1.head import RequestHead, parse_request
from bgproxy.http1.limits import REMEMBERED_BLOCKS, REMEMBERED_BYTES, REMEMBERED_HEADS
from bgproxy.model import HeadLimits

# As nearly every client writes it. Where it is a block's first line, it is not found, and nothing is remembered.
_COOKIE: Final = b"\r\nCookie: "
_is_value = re.compile(VALUE).fullmatch

# What is before a cookie's line and what is behind it: of a block, and of what goes on of it.
_Around = tuple[bytes, bytes]


class RequestHeads:
    """`last` is the one to compare a connection's first head with: another client's first one is often the same."""

    __slots__ = ("_block_bytes", "_blocks", "_heads", "_limits", "last")

    def __init__(self, limits: HeadLimits) -> None:
        self.last: RequestHead | None = None
        self._limits = limits
        self._block_bytes = min(REMEMBERED_BYTES, limits.header_block_bytes)
        self._heads: dict[bytes, RequestHead] = {}
        self._blocks: dict[_Around, tuple[Fields, _Around]] = {}

    def read(self, data: bytes, memo: RequestHead | None) -> RequestHead | None:
        """As `parse_request`; `memo` is the last head of the same connection."""
        if len(data) <= REMEMBERED_BYTES:
            head = self._heads.get(data)
            if head is not None:
                return head
        head = parse_request(data, memo or self.last, self._limits, self._read_block)
        if head is not None and head.size <= REMEMBERED_BYTES:
            if len(self._heads) >= REMEMBERED_HEADS:
                self._heads.clear()
            self._heads[head.raw] = head
        return head

    # Private

    def _read_block(self, block: bytes, limits: HeadLimits) -> Fields:
        """As `request_fields`."""
        before, found, rest = block.partition(_COOKIE)
        cookie, end, behind = rest.partition(b"\r\n")
        if not found or not end or len(block) > self._block_bytes:
            return request_fields(block, limits)
        around = before, behind
        known = self._blocks.get(around)
        if known is not None and _is_value(cookie):
            # A block that was accepted, with another value in one of its lines.
            fields, (before, behind) = known
            if fields.forward is fields.raw:
                return fields.alike(block, block)
            return fields.alike(block, b"".join((before, _COOKIE, cookie, b"\r\n", behind)))
        fields = request_fields(block, limits)
        if (
            fields.is_plain() and _COOKIE not in rest
        ):  # of two cookies, it would not be clear which one goes on
            self._remember(around, fields)
        return fields

    def _remember(self, around: _Around, fields: Fields) -> None:
        before, found, rest = fields.forward.partition(_COOKIE)
        if not found:
            return
        if len(self._blocks) >= REMEMBERED_BLOCKS:
            self._blocks.clear()
        self._blocks[around] = fields, (before, rest.partition(b"\r\n")[2])
