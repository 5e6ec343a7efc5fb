"""What the access log is told of a request, gathered at its end; only if there is a log, and it wants it."""

from __future__ import annotations

import time
from time import perf_counter_ns
from typing import TYPE_CHECKING

from bgproxy.observability.access import Entry, Format, Outcome, Part

if TYPE_CHECKING:
    from bgproxy.http1.head import RequestHead
    from bgproxy.proxy.access_log import AccessLog
    from bgproxy.proxy.downstream import Downstream
    from bgproxy.proxy.exchange import Exchange
    from bgproxy.proxy.stream import StreamDownstream
    from bgproxy.routing.balance import LivePool


def note(log: AccessLog, exchange: Exchange, status: int, outcome: Outcome, response_bytes: int) -> None:
    """A request that was read, whatever became of it."""
    head = exchange.head
    duration_us = (perf_counter_ns() - exchange.started_ns) // 1000
    if not log.wants(status, duration_us, head.target):
        return
    downstream, upstream, body, form = exchange.downstream, exchange.upstream, exchange.body, log.form
    client = downstream.logged
    if client is None:
        client = downstream.logged = form.client(*_client(downstream))
    asked = head.logged
    if asked is None:
        asked = head.logged = _asked(form, head)
    place = None if upstream is None else upstream.logged
    if place is None or place[0] is not exchange.pool:
        place = _place(form, exchange)
    request_bytes = body.taken if body is not None else exchange.body_bytes if head.has_body else 0
    at_once = exchange.response is None and outcome == "ok"
    log.add(
        form.line(
            time.time(),
            client,
            asked,
            place[1],
            status,
            outcome,
            exchange.attempts,
            request_bytes,
            response_bytes,
            _connect_us(exchange) if exchange.connected_ns else None,
            duration_us if at_once else _first_byte_us(exchange, outcome, duration_us),
            duration_us,
            exchange.request_id or None,
        )
    )


def note_refused(log: AccessLog, downstream: Downstream, status: int, response_bytes: int) -> None:
    """Bytes that are no request."""
    if not log.wants(status, 0, b""):
        return
    peer, scheme, tls = _client(downstream)
    log.tell(
        Entry(
            ended_at=time.time(),
            peer=peer,
            scheme=scheme,
            tls=tls,
            method=b"-",
            target=b"-",
            host=None,
            minor=1,
            status=status,
            outcome="refused",
            service=None,
            pool=None,
            version=None,
            upstream=None,
            attempts=0,
            request_bytes=0,
            response_bytes=response_bytes,
            connect_us=None,
            first_byte_us=None,
            duration_us=0,
            request_id=None,
            referer=None,
            user_agent=None,
        )
    )


def note_stream(
    log: AccessLog,
    stream: StreamDownstream,
    status: int,
    outcome: Outcome,
    *,
    received_bytes: int = 0,
    sent_bytes: int = 0,
) -> None:
    """A connection of a TCP listener. It has nothing of HTTP; its status is what an upgrade would have had."""
    duration_us = (perf_counter_ns() - stream.started_ns) // 1000
    if not log.wants(status, duration_us, b"-"):
        return
    service, upstream = getattr(stream, "service", None), stream.upstream
    pool = None if upstream is None else stream.pool
    peer, _, tls = _client(stream)
    log.tell(
        Entry(
            ended_at=time.time(),
            peer=peer,
            scheme="tcp",
            tls=tls,
            method=b"TCP",
            target=b"-",
            host=None,
            minor=None,
            status=status,
            outcome=outcome,
            service=None if service is None else service.view.name,
            pool=None if pool is None else pool.name,
            version=None if pool is None else pool.version,
            upstream=None if upstream is None else upstream.name,
            attempts=stream.attempts,
            request_bytes=received_bytes,
            response_bytes=sent_bytes,
            connect_us=stream.connect_us,
            first_byte_us=None,
            duration_us=duration_us,
            request_id=None,
            referer=None,
            user_agent=None,
        )
    )


# Private


def _client(downstream: Downstream | StreamDownstream) -> tuple[str, str, str | None]:
    secured = downstream.transport.get_extra_info("ssl_object")
    return (
        "" if downstream.is_local() else downstream.peer.decode("latin-1"),
        downstream.origin.scheme.decode(),
        None if secured is None else secured.version(),
    )


def _asked(form: Format, head: RequestHead) -> Part:
    fields = head.fields
    referer, user_agent = fields.get(b"referer"), fields.get(b"user-agent")
    return form.asked(head.method, head.target, head.host, head.minor, referer, user_agent)


def _place(form: Format, exchange: Exchange) -> tuple[LivePool | None, Part]:
    """Kept by the upstream, which hears of few other pools in its life."""
    service, upstream = getattr(exchange, "service", None), exchange.upstream
    name = None if service is None else service.view.name
    if service is None or upstream is None:
        return None, form.place(name, None, None, None if upstream is None else upstream.name)
    pool = exchange.pool
    upstream.logged = place = pool, form.place(name, pool.name, pool.version, upstream.name)
    return place


def _connect_us(exchange: Exchange) -> int | None:
    """None: the last connection was not made."""
    taken_ns = exchange.connected_ns - exchange.connect_ns
    return taken_ns // 1000 if taken_ns > 0 else None


def _first_byte_us(exchange: Exchange, outcome: Outcome, duration_us: int) -> int | None:
    """A response that came whole has no time of its own for its head."""
    responded_ns = getattr(exchange, "responded_ns", 0)
    if responded_ns:
        return (responded_ns - exchange.started_ns) // 1000
    return duration_us if outcome == "ok" else None
