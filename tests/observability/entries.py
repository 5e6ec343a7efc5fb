"""An entry of the access log, with whatever a test is about replaced."""

from __future__ import annotations

from typing import Any

from bgproxy.observability.access import Entry

_USUAL = Entry(
    ended_at=1_767_323_045.25,  # 2026-01-02 03:04:05.250 UTC
    peer="192.0.2.1",
    method=b"GET",
    target=b"/cart?item=7",
    host=b"shop.example.com",
    minor=1,
    scheme="https",
    tls="TLSv1.3",
    status=200,
    outcome="ok",
    service="web",
    pool="blue",
    version="v1.0.0",
    upstream="10.0.0.1:8000",
    attempts=1,
    request_bytes=0,
    response_bytes=512,
    connect_us=None,
    first_byte_us=1_500,
    duration_us=2_250,
    request_id=b"6f1c",
    referer=b"https://example.com/",
    user_agent=b"curl/8.5.0",
)


def entry(**values: Any) -> Entry:
    return _USUAL._replace(**values)
