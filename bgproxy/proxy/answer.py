"""The answers that bgproxy gives in place of an upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bgproxy.http1 import responses
from bgproxy.observability.access import Outcome
from bgproxy.proxy import books
from bgproxy.shared_memory.counters import RESPONSES

if TYPE_CHECKING:
    from bgproxy.proxy.exchange import Exchange


def refuse(exchange: Exchange, status: int, reason: str) -> None:
    """To a request that no upstream has seen."""
    exchange.service.cells[RESPONSES + status // 100] += 1
    if status == 503:
        answer(exchange, status, reason, "unavailable", retry_after_s=1)
    else:
        answer(exchange, status, reason)


def answer(
    exchange: Exchange,
    status: int,
    reason: str,
    outcome: Outcome = "refused",
    *,
    retry_after_s: int | None = None,
    routed: bool = True,
) -> None:
    """The request has been counted by the caller."""
    downstream, request = exchange.downstream, exchange.head
    fields = request.fields
    close = fields.close or exchange.body is not None or downstream.plane.draining or not request.minor
    response = responses.error_response(
        status,
        reason,
        downstream.plane.date,
        json=responses.wants_json(fields.lower),
        head_only=request.method == b"HEAD",
        close=close,
        retry_after_s=retry_after_s,
        pages=exchange.service.error_pages if routed else None,
        request_id=exchange.request_id,
    )
    downstream.transport.write(response)
    books.log(exchange, status, outcome, len(response))
    if close:
        downstream.close_lingering()
    else:
        downstream.next_request(exchange.extra)
