"""Reads one cookie of a request."""

from __future__ import annotations

from bgproxy.http1.head import Fields


def cookie_value(fields: Fields, name: bytes) -> bytes | None:
    """The first cookie of that name (RFC 6265 section 5.4)."""
    header = fields.get(b"cookie")
    if header is None:
        return None
    at = header.find(name)
    while at >= 0:  # only pairs in which the name occurs are looked at, each once
        end = header.find(b";", at)
        pair = header[header.rfind(b";", 0, at) + 1 : end if end >= 0 else len(header)]
        key, _, value = pair.strip(b" \t").partition(b"=")
        if key == name:
            return value.strip(b'"')
        at = header.find(name, end) if end >= 0 else -1
    return None
