"""What is counted and told of a request: once each, in the books of the upstream that answered or failed last."""

from __future__ import annotations

from bisect import bisect_left
from time import perf_counter_ns
from typing import TYPE_CHECKING

from bgproxy.observability.access import Outcome
from bgproxy.proxy.log_entry import note
from bgproxy.shared_memory.counters import DURATION_US, HISTOGRAM, IN_FLIGHT, LATENCY_BOUNDS_US, RESPONSES

if TYPE_CHECKING:
    from bgproxy.proxy.exchange import Exchange
    from bgproxy.routing.balance import LiveUpstream


def count(exchange: Exchange, status_class: int, *, observed: bool = False) -> None:
    """Ends the request in the books, if it is in them. `observed`: its failure was told before."""
    upstream = exchange.upstream
    if not exchange.under_way or upstream is None:
        return
    exchange.under_way = False
    cells = upstream.cells
    cells[RESPONSES + status_class] += 1
    duration_us = (perf_counter_ns() - exchange.started_ns) // 1000
    cells[DURATION_US] += duration_us
    cells[HISTOGRAM + bisect_left(LATENCY_BOUNDS_US, duration_us)] += 1
    plane = exchange.downstream.plane
    if upstream.observe is not None and status_class and not observed:
        upstream.observe(status_class == 5, duration_us, plane.now)
    # As `release` does, and spares every request a call.
    upstream.in_flight = in_flight = upstream.in_flight - 1
    cells[IN_FLIGHT] = in_flight
    if plane.queued or (plane.awaited and not in_flight):
        _tell_release(exchange, in_flight)


def release(exchange: Exchange, upstream: LiveUpstream) -> None:
    """The upstream has one request less."""
    upstream.in_flight = in_flight = upstream.in_flight - 1
    upstream.cells[IN_FLIGHT] = in_flight
    _tell_release(exchange, in_flight)


def blame(exchange: Exchange, failure: int) -> None:
    """The upstream failed after its response had begun. `failure` is a counter's cell."""
    upstream = exchange.upstream
    if upstream is not None and exchange.under_way:
        upstream.cells[failure] += 1
        if upstream.observe is not None:
            upstream.observe(True, 0, exchange.downstream.plane.now)


def end_shadow(exchange: Exchange, *, complete: bool) -> None:
    """Tells the request's copy, if it has one, that there is nothing more to compare."""
    if exchange.shadow is not None:
        exchange.shadow.primary_end(complete=complete)
        exchange.shadow = None


def log(exchange: Exchange, status: int, outcome: Outcome, response_bytes: int = 0) -> None:
    access_log = exchange.downstream.plane.access_log
    if access_log is not None:
        note(access_log, exchange, status, outcome, response_bytes)


# Private


def _tell_release(exchange: Exchange, in_flight: int) -> None:
    plane = exchange.downstream.plane
    if plane.queued:
        plane.queue.serve(exchange.service, exchange.pool)
    if in_flight == 0 and plane.awaited:
        plane.notify()
