"""One copy of a request, sent to the idle pool beside the real one, and compared when both are answered.

Owns the copy's exchange with its upstream and what is told about it. Must never touch the client, the real
request's exchange, or the books of an upstream.
"""

from __future__ import annotations

import time
from time import perf_counter_ns
from typing import TYPE_CHECKING

from bgproxy.errors import ProxyError
from bgproxy.http1 import limits as http_limits
from bgproxy.http1.head import ResponseHead, parse_response
from bgproxy.mirroring.answer import Answer
from bgproxy.mirroring.compare import Body, Comparison, compare
from bgproxy.mirroring.difference import Side, difference, encode
from bgproxy.proxy import keepalive
from bgproxy.shared_memory.mirrors import (
    BODIES_LEFT_OUT,
    BODY_DIFFERS,
    DIFFERENT,
    FAILED,
    HEADERS_DIFFER,
    MIRROR_CONNECT_FAILED,
    MIRROR_INVALID,
    MIRROR_RESET,
    MIRROR_TIMED_OUT,
    SAME,
    STATUS_DIFFERS,
    TEXT_BYTES,
    UNCOMPARED,
)

if TYPE_CHECKING:
    from bgproxy.mirroring.live import LiveMirror
    from bgproxy.model import PoolView
    from bgproxy.proxy.exchange import Exchange
    from bgproxy.proxy.shadows import Shadows
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LiveUpstream


class Shadow:
    """Implements `UpstreamUser` for one copy, and hears from the exchange how the real request is answered.

    Whatever goes wrong here ends here: what an exchange calls raises nothing, and compares nothing.
    """

    __slots__ = (
        "_active",
        "_active_failed",
        "_active_over",
        "_connecting",
        "_connection",
        "_exchange",
        "_idle",
        "_idle_over",
        "_informational",
        "_mirror",
        "_outgoing",
        "_partial",
        "_shadows",
        "_started_ns",
        "_tally",
        "_twin",
        "is_over",
        "until",
    )

    def __init__(
        self,
        shadows: Shadows,
        exchange: Exchange,
        mirror: LiveMirror,
        tally: memoryview[int],
        twin: LiveUpstream,
    ) -> None:
        method = exchange.head.method
        self._shadows = shadows
        self._exchange = exchange
        self._mirror = mirror
        self._tally = tally
        self._started_ns = perf_counter_ns()
        self.until = shadows.plane.now + mirror.timeout_s
        self.is_over = False
        # the copy
        self._twin = twin
        self._outgoing = b""
        self._connection: UpstreamConnection | None = None
        self._connecting = False
        self._partial = b""
        self._informational = 0
        self._idle = Answer(method, mirror.body_bytes)
        self._idle_over = False
        # the real request
        self._active = Answer(method, mirror.body_bytes)
        self._active_over = False
        self._active_failed = False

    def send(self, outgoing: bytes) -> None:
        """On a kept connection or a new one."""
        self._outgoing = outgoing
        connection = keepalive.take(self._twin, self._shadows.plane.now, replayable=False)
        if connection is None:
            self._connect()
        else:
            connection.user = self
            self.upstream_connected(connection)

    # What the exchange tells of the real request

    def primary_head(self, head: ResponseHead) -> None:
        """Its final response has begun."""
        self._active.begin(head, self._elapsed_us())

    def primary_data(self, data: bytes) -> None:
        """More of its body, as it came from the upstream."""
        if self.is_over or self._active_failed:
            return
        try:
            self._active.feed(data)
        except ProxyError:
            self._active_failed = True  # the exchange finds the same

    def primary_end(self, *, complete: bool) -> None:
        """It is over; without `complete` nobody knows what the whole answer would have been."""
        if complete:
            self._active.close()
        self._active_failed = not self._active.ended
        self._active_over = True
        self._settle()

    # UpstreamUser: what the idle pool answers

    def upstream_connected(self, connection: UpstreamConnection) -> None:
        self._connecting = False
        self._connection = connection
        connection.transport.write(self._outgoing)

    def connect_failed(self) -> None:
        self._connecting = False
        self._fail(MIRROR_CONNECT_FAILED)

    def upstream_data(self, data: bytes) -> None:
        try:
            if self._idle.head is None:
                body = self._read_heads(self._partial + data)
                if body is None:
                    return
                data = body
            rest = self._idle.feed(data)
        except ProxyError:
            self._fail(MIRROR_INVALID)
            return
        if self._idle.ended:
            self._idle_ended(rest)

    def upstream_eof(self) -> None:
        self.upstream_gone(None)

    def upstream_gone(self, error: Exception | None) -> None:
        connection = self._connection
        if error is None:
            self._idle.close()
        if self._idle.ended:
            self._drop_connection()
            self._idle_over = True
            self._settle()
        elif connection is not None and connection.reused and self._idle.head is None and not self._partial:
            # The upstream closed it as the copy was on its way, which says nothing about its answer.
            self._drop_connection()
            self._connect()
        else:
            self._fail(MIRROR_RESET)

    def upstream_full(self) -> None:
        """A copy is one head: there is nothing to hold back."""

    def upstream_drained(self) -> None:
        """See `upstream_full`."""

    # Its end

    def expired(self) -> None:
        """Compares what there is, if it is enough."""
        if self.is_over:
            return
        if self._idle.head is None or (self._active.ended and not self._idle.ended):
            self._fail(MIRROR_TIMED_OUT)
        else:
            self._compare()

    def drop(self) -> None:
        """Forgets the copy: nothing that it hears from now on counts."""
        self.is_over = True
        self._drop_connection()
        self._shadows.under_way.discard(self)

    def tell(self, found: Comparison) -> None:
        """What the comparison has found."""
        self.drop()
        tally = self._tally
        tally[BODIES_LEFT_OUT] += found.body in (Body.TOO_LARGE, Body.UNFINISHED)
        if found.is_same:
            tally[SAME] += 1
            return
        tally[DIFFERENT] += 1
        tally[STATUS_DIFFERS] += found.status_differs
        tally[HEADERS_DIFFER] += bool(found.headers)
        tally[BODY_DIFFERS] += found.body is Body.DIFFERENT
        exchange = self._exchange
        view, upstream = exchange.service.view, exchange.upstream
        told = difference(
            time.time(),
            exchange.head.method,
            exchange.head.target,
            _side(view.active, "" if upstream is None else upstream.name, self._active),
            _side(view.idle, self._twin.name, self._idle),
            found,
        )
        self._shadows.writer.difference(view.tag, encode(told, TEXT_BYTES))

    # Private: the copy

    def _connect(self) -> None:
        exchange = self._exchange
        self._connecting = True
        self._shadows.plane.connector.connect(self._twin, self, exchange.service, exchange.downstream)

    def _read_heads(self, data: bytes) -> bytes | None:
        """Reads heads up to the final one; returns what came of its body, or None if it has not come yet."""
        twin = self._twin
        while True:
            head = parse_response(data, twin.response_memo)
            if head is None:
                self._partial = data
                return None
            data = data[head.size :]
            if head.status >= 200:
                break
            self._informational += 1
            if head.status == 101 or self._informational > http_limits.INFORMATIONAL_RESPONSES:
                raise ProxyError(502, "the upstream answers what it was not asked")
        twin.response_memo = head
        self._idle.begin(head, self._elapsed_us())
        return data

    def _idle_ended(self, rest: bytes) -> None:
        """The copy's answer has ended as its framing said; `rest` came behind it."""
        connection, head, service = self._connection, self._idle.head, self._exchange.service
        self._connection = None
        self._idle_over = True
        if connection is not None:
            reusable = not rest and not service.view.policy.send_proxy
            if reusable and head is not None and head.minor and not head.fields.close:
                connection.user = None
                connection.reused = True
                hint_s = head.fields.keep_alive_s
                keepalive.put(connection, self._shadows.plane.now, service.keepalive, hint_s)
            else:
                connection.close()
        self._settle()

    def _drop_connection(self) -> None:
        connection = self._connection
        self._connection = None
        if connection is not None:
            connection.close()
        elif self._connecting:
            self._connecting = False
            self._shadows.plane.connector.give_up(self)

    def _fail(self, kind: int) -> None:
        self._tally[FAILED] += 1
        self._tally[kind] += 1
        self.drop()

    # Private: the comparison

    def _settle(self) -> None:
        if self._idle_over and self._active_over and not self.is_over:
            self._compare()

    def _compare(self) -> None:
        self.is_over = True
        self._drop_connection()
        active, idle = self._active, self._idle
        if active.head is None or idle.head is None or self._active_failed:
            self._tally[UNCOMPARED] += 1
            self.drop()
            return
        tag = self._exchange.service.view.tag
        self._shadows.writer.sample(tag, active.latency_us, idle.latency_us)
        self._shadows.compare(self, compare(active, idle, self._mirror))

    def _elapsed_us(self) -> int:
        return (perf_counter_ns() - self._started_ns) // 1000


def _side(pool: PoolView, upstream: str, answer: Answer) -> Side:
    assert answer.head is not None  # noqa: S101 - else there was nothing to compare
    return Side(pool.name, pool.version, upstream, answer.head.status, answer.size_bytes, answer.latency_us)
