"""The answers that bgproxy gives itself, as bytes: one short body, JSON or text by Accept."""

from __future__ import annotations

import re
from http import HTTPStatus

import orjson

_ACCEPT = re.compile(rb"\naccept:([^\r]*)\r").search


def wants_json(lower_block: bytes) -> bool:
    """True if Accept names JSON, or no text at all (RFC 9110 section 12.5.1). People get text."""
    accept = _ACCEPT(lower_block)
    if accept is None:
        return False
    value = accept[1]
    return b"json" in value or (b"text/" not in value and b"*/*" not in value)


def error_response(
    status: int,
    reason: str,
    *,
    json: bool = False,
    head_only: bool = False,
    close: bool = False,
    retry_after_s: int | None = None,
) -> bytes:
    """A whole response. `reason` is shown to the client: it names no upstream and no secret."""
    phrase = HTTPStatus(status).phrase
    if json:
        content_type = b"application/problem+json"
        body = orjson.dumps({"status": status, "title": phrase, "detail": reason}) + b"\n"
    else:
        content_type = b"text/plain; charset=utf-8"
        body = f"{status} {phrase}: {reason}\n".encode()
    lines = [
        b"HTTP/1.1 %d %b" % (status, phrase.encode()),
        b"Content-Type: " + content_type,
        b"Content-Length: %d" % len(body),
        b"Cache-Control: no-store",
    ]
    if retry_after_s is not None:
        lines.append(b"Retry-After: %d" % retry_after_s)
    if close:
        lines.append(b"Connection: close")
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    return head if head_only else head + body
