"""Reads one cookie of a request."""

from __future__ import annotations

from bgproxy.http1.head import Fields


def cookie_value(fields: Fields, name: bytes) -> bytes | None:
    """The first cookie of that name (RFC 6265 section 5.4)."""
    header = fields.get(b"cookie")
    if header is None:
        return None
    for pair in header.split(b";"):
        key, _, value = pair.strip(b" \t").partition(b"=")
        if key == name:
            return value.strip(b'"')
    return None
