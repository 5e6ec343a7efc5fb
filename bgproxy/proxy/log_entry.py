"""What the access log is told of a request, gathered at its end; only if there is a log, and it wants it."""

from __future__ import annotations

import time
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from bgproxy.observability.access import Entry, Outcome

if TYPE_CHECKING:
    from bgproxy.proxy.access_log import AccessLog
    from bgproxy.proxy.downstream import Downstream
    from bgproxy.proxy.exchange import Exchange
    from bgproxy.proxy.stream import StreamDownstream


def note(log: AccessLog, exchange: Exchange, status: int, outcome: Outcome, response_bytes: int) -> None:
    """A request that was read, whatever became of it."""
    head, ended_ns = exchange.head, perf_counter_ns()
    duration_us = (ended_ns - exchange.started_ns) // 1000
    if not log.wants(status, duration_us, head.target):
        return
    fields, upstream = head.fields, exchange.upstream
    service = getattr(exchange, "service", None)
    pool = exchange.pool if service is not None and upstream is not None else None
    body = exchange.body
    log.add(
        Entry(
            ended_at=time.time(),
            **_client(exchange.downstream),
            method=head.method,
            target=head.target,
            host=head.host,
            minor=head.minor,
            status=status,
            outcome=outcome,
            service=None if service is None else service.view.name,
            pool=None if pool is None else pool.name,
            version=None if pool is None else pool.version,
            upstream=None if upstream is None else upstream.name,
            attempts=exchange.attempts,
            request_bytes=getattr(exchange, "body_bytes", 0) if body is None else body.taken,
            response_bytes=response_bytes,
            connect_us=_between(getattr(exchange, "connect_ns", 0), getattr(exchange, "connected_ns", 0)),
            first_byte_us=_first_byte_us(exchange, ended_ns, outcome),
            duration_us=duration_us,
            request_id=exchange.request_id or None,
            referer=fields.get(b"referer"),
            user_agent=fields.get(b"user-agent"),
        )
    )


def note_refused(log: AccessLog, downstream: Downstream, status: int, response_bytes: int) -> None:
    """Bytes that are no request."""
    if not log.wants(status, 0, b""):
        return
    log.add(
        Entry(
            ended_at=time.time(),
            **_client(downstream),
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
    log.add(
        Entry(
            ended_at=time.time(),
            **{**_client(stream), "scheme": "tcp"},
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


def _client(downstream: Downstream | StreamDownstream) -> dict[str, Any]:
    secured = downstream.transport.get_extra_info("ssl_object")
    return {
        "peer": "" if downstream.is_local() else downstream.peer.decode("latin-1"),
        "scheme": downstream.origin.scheme.decode(),
        "tls": None if secured is None else secured.version(),
    }


def _between(start_ns: int, end_ns: int) -> int | None:
    return (end_ns - start_ns) // 1000 if start_ns and end_ns else None


def _first_byte_us(exchange: Exchange, ended_ns: int, outcome: Outcome) -> int | None:
    """A response that came whole has no time of its own for its head."""
    responded_ns = getattr(exchange, "responded_ns", ended_ns if outcome == "ok" else 0)
    return _between(exchange.started_ns, responded_ns)
