"""What becomes of a request when something fails: another upstream, an answer, or a visible abort.

Every fault of a client or an upstream ends here, as a decision, and nowhere else. Nothing is ever sent twice
that must not be, and nothing that was cut off looks complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bgproxy.errors import ProxyError
from bgproxy.observability.access import Outcome
from bgproxy.proxy import books
from bgproxy.proxy.answer import answer, refuse
from bgproxy.routing.retry import may_repeat
from bgproxy.shared_memory.counters import CONNECT_FAILED, INVALID, RESET, RESPONSES, RETRIED, TIMED_OUT

if TYPE_CHECKING:
    from bgproxy.proxy.exchange import Exchange
    from bgproxy.routing.balance import LiveUpstream

_ANSWERS: Final[dict[int, tuple[int, str, Outcome]]] = {
    CONNECT_FAILED: (502, "no upstream could be connected to", "connect_failed"),
    RESET: (502, "the upstream closed the connection before it answered", "upstream_reset"),
    TIMED_OUT: (504, "the upstream did not answer in time", "upstream_timeout"),
    INVALID: (502, "the upstream's response was not valid HTTP", "upstream_invalid"),
}


def attempt_failed(exchange: Exchange, failure: int, *, blamed: bool = True) -> None:
    """Before a byte of a final response: another upstream, or an error. `failure` is a counter's cell.

    Only who is to be `blamed` may be ejected for it.
    """
    upstream, connection = exchange.upstream, exchange.connection
    if upstream is None or not exchange.under_way:
        return  # it has ended: what comes late changes nothing
    stale = connection is not None and connection.reused and failure == RESET and not exchange.partial
    upstream.cells[failure] += 1
    if upstream.observe is not None and blamed and not stale:
        upstream.observe(True, 0, exchange.downstream.plane.now)
    exchange.partial = b""
    exchange.drop_connection()
    exchange.downstream.transport.resume_reading()  # what held the client back has gone
    exchange.tried = (*exchange.tried, upstream)
    if _may_retry(exchange, failure, stale=stale):
        other = _another(exchange) or (upstream if stale else None)
        if other is not None:
            upstream.cells[RETRIED] += 1
            exchange.send(other)  # first: whoever waits for room must not take its place
            books.release(exchange, upstream)
            return
    status, reason, outcome = _ANSWERS[failure]
    books.end_shadow(exchange, complete=False)
    books.count(exchange, status // 100, observed=True)
    answer(exchange, status, reason, outcome)


def client_failed(exchange: Exchange, error: ProxyError) -> None:
    """The client broke the request off in mid-body: the upstream must see an abort, not an end."""
    exchange.drop_connection()
    if exchange.response is not None:
        abandon(exchange, "client_error")
        return
    books.end_shadow(exchange, complete=False)
    if exchange.under_way:
        books.count(exchange, error.status // 100, observed=True)
    elif exchange.downstream.plane.forget(exchange):
        exchange.service.cells[RESPONSES + error.status // 100] += 1
    answer(exchange, error.status, error.reason, "client_error")


def timed_out(exchange: Exchange) -> None:
    """The deadline of the present phase has passed. Whose fault it is tells what becomes of the request."""
    if not exchange.under_way:
        if exchange.downstream.plane.queue.leave(exchange):
            refuse(exchange, 503, "no upstream of the service had room for this request in time")
        return  # else it is parked: the hold has a deadline of its own
    if exchange.response is not None:
        if exchange.downstream.is_full():
            abandon(exchange, "client_left")  # it does not read what it asked for
        else:
            books.blame(exchange, TIMED_OUT)
            abandon(exchange, "upstream_timeout")
    elif exchange.connecting:
        attempt_failed(exchange, CONNECT_FAILED)
    elif exchange.body is None or exchange.is_unsent():
        attempt_failed(exchange, TIMED_OUT)
    elif _is_unasked(exchange):
        attempt_failed(exchange, TIMED_OUT, blamed=False)
    else:
        client_failed(exchange, ProxyError(408, "the request body did not arrive in time"))


def abandon(exchange: Exchange, outcome: Outcome) -> None:
    """Ends both sides where they are: the client sees an abort, which is what happened.

    RFC 9112 section 8: a message that was cut off must not look complete.
    """
    response = exchange.response
    status = 0 if response is None else response.head.status
    exchange.drop_connection()
    books.end_shadow(exchange, complete=False)
    books.count(exchange, status // 100, observed=True)
    exchange.downstream.plane.forget(exchange)
    books.log(exchange, status, outcome, 0 if response is None else response.sent)
    exchange.downstream.user = None
    exchange.downstream.reset()


# Private


def _may_retry(exchange: Exchange, failure: int, *, stale: bool) -> bool:
    retries = exchange.service.retries
    if exchange.outgoing is None or exchange.attempts > retries.attempts:
        return False
    if exchange.downstream.plane.now >= exchange.total_until:
        return False
    # A request that was not sent, or may be sent twice. A timeout has used up the client's patience.
    if failure != CONNECT_FAILED and (failure == TIMED_OUT or not may_repeat(exchange.head, retries)):
        return False
    # The budget keeps retries from multiplying the load of a pool that suffers. A refused connection
    # was no load, and a kept-alive one that was closed under us says nothing about the pool.
    return stale or failure == CONNECT_FAILED or exchange.service.retry_budget.spend()


def _another(exchange: Exchange) -> LiveUpstream | None:
    pool, key = exchange.pool, exchange.pool.hash_key
    if key is None:
        return pool.choose(exchange.tried)
    return pool.choose_by(key(exchange.head, exchange.downstream.peer), exchange.tried)


def _is_unasked(exchange: Exchange) -> bool:
    """True if the client waits for a 100 (Continue) that the upstream has not given."""
    if exchange.informational or exchange.body is None or exchange.body.taken:
        return False
    return exchange.head.fields.get(b"expect") is not None
