"""Answers as upstreams give them."""

from __future__ import annotations

from bgproxy.http1.head import RequestHead, parse_request, parse_response
from bgproxy.mirroring.answer import Answer
from tests.support.peers import wire

LIMIT_BYTES = 100


def request(method: str = "GET", *fields: str) -> RequestHead:
    head = parse_request(wire("\n".join([f"{method} / HTTP/1.1", "Host: app", *fields]) + "\n\n"))
    assert head is not None
    return head


def message(body: str = "", *fields: str, status: int = 200) -> bytes:
    head = "\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}", *fields]) + "\n\n"
    return wire(head) + body.encode()


def begun(response: bytes, *, method: bytes = b"GET", limit_bytes: int = LIMIT_BYTES) -> tuple[Answer, bytes]:
    """An answer that has its head, and the bytes behind it."""
    head = parse_response(response)
    assert head is not None
    answer = Answer(method, limit_bytes)
    answer.begin(head, 1000)
    return answer, response[head.size :]


def answer(response: bytes, *, method: bytes = b"GET", limit_bytes: int = LIMIT_BYTES) -> Answer:
    found, body = begun(response, method=method, limit_bytes=limit_bytes)
    found.feed(body)
    return found


def json(body: str, *fields: str, status: int = 200) -> Answer:
    return answer(message(body, "Content-Type: application/json", *fields, status=status))
