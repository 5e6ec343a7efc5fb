"""What bgproxy changes in a head that it forwards: bytes to bytes, nothing decided here."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from bgproxy.http1.head import RequestHead, ResponseHead


class Coding(Enum):
    """What happens to the chunked coding of a response body between the two sides."""

    AS_IS = 0
    ADDED = 1  # the upstream ends the body by closing, an HTTP/1.1 client gets chunks
    REMOVED = 2  # an HTTP/1.0 client cannot read chunks


_MAX_FORWARDS_LINE: Final = re.compile(rb"(?im)^max-forwards:[^\r\n]*\r\n")
_HOST_LINE: Final = re.compile(rb"(?im)^host:[^\r\n]*\r\n")


def request_head(head: RequestHead, told: bytes) -> bytes:
    """The head that goes upstream, always HTTP/1.1, without the empty line that ends it.

    `told` is what the upstream is told besides, see `forwarding.lines`.
    """
    fields = head.fields
    block = fields.forward
    if head.line_bytes and fields.upgrade is None:  # nearly every one
        return (head.raw[:-2] if block is fields.raw else head.raw[: head.line_bytes] + block) + told
    if head.host != fields.host:
        # An absolute target overrules the Host field. A client of HTTP/1.0 may have sent neither, and
        # RFC 9112 section 3.2 wants an empty field then.
        block = b"Host: " + head.host + b"\r\n" + _HOST_LINE.sub(b"", block)
    block += told
    if fields.upgrade is not None and head.minor:  # RFC 9110 section 7.8: to be ignored in HTTP/1.0
        block += b"Connection: Upgrade\r\nUpgrade: " + fields.upgrade + b"\r\n"
    return head.method + b" " + head.target + b" HTTP/1.1\r\n" + block


def with_host(message: bytes, host: bytes) -> bytes:
    """A request with another Host."""
    head, end, body = message.partition(b"\r\n\r\n")
    line, _, block = (head + b"\r\n").partition(b"\r\n")
    return line + b"\r\nHost: " + host + b"\r\n" + _HOST_LINE.sub(b"", block) + end[2:] + body


def with_hops(message: bytes, left: int) -> bytes:
    """A request with another Max-Forwards."""
    return _MAX_FORWARDS_LINE.sub(b"Max-Forwards: %d\r\n" % left, message, count=1)


def without_field(block: bytes, name: bytes) -> bytes:
    """`block` without any field of that (lower-case) name."""
    lines = block.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.split(b":", 1)[0].lower() != name)


def without_secret(message: bytes, name: bytes) -> bytes:
    """A request without the header that holds a preview's secret, which is none of the upstream's business."""
    head, end, body = message.partition(b"\r\n\r\n")
    return without_field(head, name) + end + body


def response_head(
    head: ResponseHead,
    *,
    connection: bytes = b"",
    set_cookie: bytes = b"",
    pool: bytes = b"",
    coding: Coding = Coding.AS_IS,
) -> bytes:
    """The head that goes to the client.

    `connection` is the value of a Connection field, or empty for none; `set_cookie` likewise. `pool` is a
    whole line that tells where the response comes from, or empty.
    """
    fields = head.fields
    forward = fields.forward
    if coding is Coding.REMOVED and fields.chunked:
        forward = without_field(forward, b"transfer-encoding")
    elif coding is Coding.ADDED:
        forward += b"Transfer-Encoding: chunked\r\n"
    block = b"HTTP/1.1" + head.line + forward + head.date
    if fields.upgrade is not None and head.status in (101, 426):
        block += b"Upgrade: " + fields.upgrade + b"\r\n"
    if connection:
        block += b"Connection: " + connection + b"\r\n"
    if pool:
        block = without_field(block, pool.partition(b":")[0].lower()) + pool
    if set_cookie:
        block += b"Set-Cookie: " + set_cookie + b"\r\n"
    return block + b"\r\n"
