"""The answers that bgproxy gives itself, as bytes: one short body, JSON or text by Accept, or an own page."""

from __future__ import annotations

import re
from typing import Final

import orjson

from bgproxy.http1.error_pages import ErrorPages

# RFC 9110 section 15; the names that the standard library has for some of them are older.
PHRASES: Final = {
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}

_ACCEPTS = re.compile(rb"\naccept:([^\r]*)\r").findall


def wants_json(lower_block: bytes) -> bool:
    """True if Accept names JSON, or something and no text at all (RFC 9110 section 12.5.1). People get text."""
    value = b",".join(_ACCEPTS(lower_block))
    if not value.strip():
        return False
    return b"json" in value or (b"text/" not in value and b"*/*" not in value)


def error_response(
    status: int,
    reason: str,
    date: bytes,
    *,
    json: bool = False,
    head_only: bool = False,
    close: bool = False,
    retry_after_s: int | None = None,
    pages: ErrorPages | None = None,
    request_id: bytes = b"",
) -> bytes:
    """A whole response. `reason` is shown to the client: it names no upstream and no secret.

    `date` is an HTTP-date (RFC 9110 section 5.6.7).
    """
    phrase = PHRASES[status]
    page = pages and pages.render(status, phrase, reason, request_id.decode("latin-1"), json=json)
    if page:
        content_type, body = page
    elif json:
        content_type = "application/problem+json"
        body = orjson.dumps({"status": status, "title": phrase, "detail": reason}).decode() + "\n"
    else:
        content_type = "text/plain; charset=utf-8"
        body = f"{status} {phrase}: {reason}\n"
    content = body.encode()
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        f"Date: {date.decode()}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
    ]
    if retry_after_s is not None:
        lines.append(f"Retry-After: {retry_after_s}")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if head_only else head + content
