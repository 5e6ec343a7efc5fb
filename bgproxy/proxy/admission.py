"""What stands between a request and an upstream where a service has more than a route: rarely anything.

Maintenance, a limit for bodies, a hold, a head that has to be changed, a queue. Services without any of it
never come here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bgproxy.errors import ProxyError
from bgproxy.http1 import rewrite
from bgproxy.proxy.answer import answer, refuse
from bgproxy.proxy.request_body import too_large
from bgproxy.shared_memory.counters import RESPONSES

if TYPE_CHECKING:
    from bgproxy.proxy.exchange import Exchange
    from bgproxy.routing.balance import LivePool
    from bgproxy.routing.split import LiveService


def admits(exchange: Exchange, service: LiveService, *, preview: bool) -> bool:
    """Prepares the request for its service. False if it was refused, or is held and will be sent later."""
    maintenance = service.maintenance
    preview = preview or service.is_preview(exchange.head)
    if maintenance is not None and not preview:
        service.cells[RESPONSES + 5] += 1
        reason = maintenance.reason or "this service is down for maintenance"
        answer(exchange, 503, reason, "unavailable", retry_after_s=maintenance.retry_after_s)
        return False
    try:
        _limit_body(exchange, service)
    except ProxyError as error:
        refuse(exchange, error.status, error.reason)
        return False
    if not preview and service.hold is not None and exchange.downstream.plane.parking.park(exchange, service):
        _wait(exchange)
        return False
    if exchange.outgoing is not None:
        if service.preview_header is not None:
            exchange.outgoing = rewrite.without_secret(exchange.outgoing, service.preview_header)
        if service.host is not None:
            exchange.outgoing = rewrite.with_host(exchange.outgoing, service.host)
            exchange.renamed = True
    return True


def wait_or_refuse(exchange: Exchange, service: LiveService, pool: LivePool) -> None:
    """No upstream can be chosen: a place in the queue if all are busy, else a 503."""
    plane = exchange.downstream.plane
    name = service.view.name
    if not pool.is_full():
        refuse(exchange, 503, f"no upstream of service {name} is healthy")
    elif plane.queue.enter(exchange, service):
        exchange.downstream.deadline = plane.now + service.limits.queue_timeout_s
        _wait(exchange)
    else:
        refuse(exchange, 503, f"all upstreams of service {name} are busy")


# Private


def _wait(exchange: Exchange) -> None:
    if exchange.body is not None:
        exchange.downstream.transport.pause_reading()


def _limit_body(exchange: Exchange, service: LiveService) -> None:
    most_bytes = service.limits.request_body_bytes
    if most_bytes is None:
        return
    if exchange.body is not None:
        exchange.body.limit(most_bytes)
    elif getattr(exchange, "body_bytes", 0) > most_bytes:
        raise too_large()
