"""One request and its response: the straight line that a reader should follow from top to bottom.

`start` chooses (route, split, balance) and counts the request in flight in one synchronous step, so that
a drain or a hold misses nobody. From then on the two sides report to this object, and it decides: relay,
retry, answer with an error, or abort. Errors of a peer become decisions here and nowhere else.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from bgproxy.errors import ProxyError
from bgproxy.http1 import framing, responses, rewrite
from bgproxy.http1 import limits as http_limits
from bgproxy.http1.framing import CHUNKED, NONE, UNTIL_CLOSE, ChunkedScanner
from bgproxy.http1.head import RequestHead, ResponseHead, parse_response
from bgproxy.http1.rewrite import Coding
from bgproxy.proxy import keepalive, limits
from bgproxy.proxy.tunnel import Tunnel
from bgproxy.shared_memory.counters import (
    CONNECT_FAILED,
    DURATION_US,
    HISTOGRAM,
    IN_FLIGHT,
    INVALID,
    LATENCY_BOUNDS_US,
    RESET,
    RESPONSES,
    RETRIED,
    TIMED_OUT,
)

if TYPE_CHECKING:
    from bgproxy.proxy.downstream import Downstream
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LivePool, LiveUpstream
    from bgproxy.routing.split import LiveService

# RFC 9110 section 9.2.2: repeating these does no harm, so they may be sent to another upstream.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

_FAILURES: Final = {
    CONNECT_FAILED: (502, "no upstream could be connected to"),
    RESET: (502, "the upstream closed the connection before it answered"),
    TIMED_OUT: (504, "the upstream did not answer in time"),
    INVALID: (502, "the upstream's response was not valid HTTP"),
}


class Exchange:
    """Implements `UpstreamUser` and `DownstreamUser` for one request."""

    __slots__ = (
        "_connecting",
        "_connection",
        "_cookie",
        "_encode",
        "_extra",
        "_informational",
        "_keep",
        "_outgoing",
        "_partial",
        "_request_left",
        "_request_scanner",
        "_responded",
        "_response_left",
        "_response_scanner",
        "_reusable",
        "_started_ns",
        "_status",
        "_total_until",
        "_tried",
        "_upstream",
        "downstream",
        "head",
        "pool",
        "service",
        "timeouts",
    )

    service: LiveService
    pool: LivePool

    def __init__(self, downstream: Downstream, head: RequestHead) -> None:
        self.downstream = downstream
        self.head = head
        self._started_ns = perf_counter_ns()
        # the request: what is still to come, and what is kept for another try (None: too much)
        self._request_left = 0
        self._request_scanner: ChunkedScanner | None = None
        self._outgoing: bytes | None = b""
        self._extra = b""
        # the attempt
        self._upstream: LiveUpstream | None = None
        self._connection: UpstreamConnection | None = None
        self._connecting = False
        self._tried: tuple[LiveUpstream, ...] = ()
        # the response
        self._responded = False
        self._informational = 0
        self._partial = b""
        self._response_left: int = NONE
        self._response_scanner: ChunkedScanner | None = None
        self._status = 0

    # The request: route, split, balance, send

    def start(self, data: bytes) -> None:
        """Takes the request from `data`, which begins with its head, and sends it on its way."""
        head, outgoing = self.head, self.downstream.outgoing
        self._request_left = framing.request_body(head.fields)
        if self._request_left == CHUNKED:
            self._request_scanner = ChunkedScanner(400)
        if len(data) > head.size:
            try:
                outgoing += self._take_body(data[head.size :])
            except ProxyError as error:
                self.downstream.refuse(error)
                return
        self._outgoing = outgoing
        self.choose()

    def choose(self) -> None:
        """Route, split, balance and count, without an await in between; again after a hold."""
        downstream, head = self.downstream, self.head
        plane = downstream.plane
        if plane.word[0] != plane.known:
            plane.adopt()
        route = plane.table.find(head.host, head.target)
        if route is None:
            plane.unrouted[RESPONSES + 4] += 1
            self._answer(404, "no service is configured for this host and path")
            return
        service, preview = route
        self.service = service
        if preview or downstream.preview:
            self.pool, self._cookie = service.preview()
        elif service.hold is not None and plane.park(self, service):
            if self._request_left != NONE:
                self.downstream.transport.pause_reading()
            return
        else:
            self.pool, self._cookie = service.split(head)
        if service.preview_header is not None and self._outgoing is not None:
            self._outgoing = rewrite.without_secret(self._outgoing, service.preview_header)
        service.retry_budget.requests += 1
        self.timeouts = timeouts = service.view.policy.timeouts
        self._total_until = inf if timeouts.total_s == inf else plane.now + timeouts.total_s
        upstream = self.pool.choose()
        if upstream is None:
            service.cells[RESPONSES + 5] += 1
            self._answer(503, f"no upstream of service {service.view.name} is healthy", retry_after_s=1)
        else:
            self._send(upstream)

    def parked_bytes(self) -> int:
        """What a hold keeps of this request."""
        return len(self._outgoing or b"") + len(self._extra)

    # DownstreamUser: what the client does

    def client_data(self, data: bytes) -> None:
        if self._request_left == NONE:
            self.downstream.keep(data)
            return
        try:
            data = self._take_body(data)
        except ProxyError as error:
            self._client_error(error)
            return
        connection = self._connection
        if connection is not None and not self._connecting:
            if self._outgoing is not None:
                kept = len(self._outgoing) + len(data)
                self._outgoing = self._outgoing + data if kept <= limits.REPLAY_BYTES else None
            connection.transport.write(data)
            if not self._responded:
                self._arm_request()
        elif self._outgoing is not None:
            self._outgoing += data
            if self._request_left != NONE and len(self._outgoing) > limits.REPLAY_BYTES:
                self.downstream.transport.pause_reading()

    def client_eof(self) -> bool:
        if self._request_left != NONE:
            # The request can never be completed; the upstream must not take it for a whole one.
            self._abandon()
            return False
        return True

    def client_gone(self) -> None:
        if self.downstream.plane.unpark(self):
            self.service.cells[RESPONSES] += 1  # it was nobody's yet but the service's
        if self._upstream is not None:
            self._count(0)
        self._drop_connection()

    def client_full(self) -> None:
        if self._responded and self._response_left == NONE:
            return  # this was the end of the response: the connection is as good as kept
        if self._connection is not None and not self._connecting:
            self._connection.transport.pause_reading()

    def client_drained(self) -> None:
        if self._connection is not None and not self._connecting:
            self._connection.transport.resume_reading()

    def timed_out(self) -> None:
        if self._upstream is None:
            return  # parked: the hold has a deadline of its own
        if self._responded:
            self._upstream.cells[TIMED_OUT] += 1
            self._abandon()
        elif self._request_left != NONE and not (self._connecting or self._is_unsent() or self._is_unasked()):
            self._client_error(ProxyError(408, "the request body did not arrive in time"))
        else:
            self._failed(CONNECT_FAILED if self._connecting else TIMED_OUT)

    # UpstreamUser: what the upstream does

    def upstream_connected(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._connecting = False
        self._write_request(connection)
        if self._request_left != NONE:
            self.downstream.transport.resume_reading()

    def connect_failed(self) -> None:
        self._connecting = False
        self._failed(CONNECT_FAILED)

    def upstream_data(self, data: bytes) -> None:
        if self._responded:
            self._relay(data)
            return
        if self._partial:
            data = self._partial + data
            self._partial = b""
        upstream = self._upstream
        assert upstream is not None  # noqa: S101 - bytes come from the one that was chosen
        while True:
            try:
                head = parse_response(data, upstream.response_memo)
            except ProxyError:
                self._failed(INVALID)
                return
            if head is None:
                self._partial = data
                return
            if head.status >= 200 or head.status == 101:
                break
            self._informational += 1
            if self._informational > http_limits.INFORMATIONAL_RESPONSES:
                self._failed(INVALID)
                return
            if self.head.minor:
                self.downstream.transport.write(rewrite.response_head(head, coding=Coding.REMOVED))
            data = data[head.size :]
            if not data:
                return
        upstream.response_memo = head
        if head.status == 101:
            self._switch_protocols(head, data)
        else:
            self._respond(head, data)

    def upstream_eof(self) -> None:
        self.upstream_gone(None)

    def upstream_gone(self, error: Exception | None) -> None:
        if not self._responded:
            self._failed(RESET)
        elif self._response_left == UNTIL_CLOSE and error is None:
            self._drop_connection()
            if self._encode:
                self.downstream.transport.write(b"0\r\n\r\n")
            self._complete()
        else:
            # Truncation must be visible (RFC 9112 section 8): no clean end, no final chunk.
            if self._upstream is not None:
                self._upstream.cells[RESET] += 1
            self._abandon()

    def upstream_full(self) -> None:
        self.downstream.transport.pause_reading()

    def upstream_drained(self) -> None:
        self.downstream.transport.resume_reading()

    # Private: the attempt

    def _send(self, upstream: LiveUpstream) -> None:
        upstream.in_flight = in_flight = upstream.in_flight + 1
        upstream.cells[IN_FLIGHT] = in_flight
        self._upstream = upstream
        connection = (
            keepalive.take(upstream, replayable=not self._tried and self.head.method in IDEMPOTENT)
            if upstream.idle
            else None
        )
        if connection is None:
            self._connecting = True
            self._arm(self.service.view.policy.timeouts.connect_s)
            self.downstream.plane.connect(upstream, self)
            return
        connection.user = self
        self._connection = connection
        self._write_request(connection)

    def _write_request(self, connection: UpstreamConnection) -> None:
        outgoing = self._outgoing
        assert outgoing is not None  # noqa: S101 - it is dropped only once it was written
        connection.transport.write(outgoing)
        if len(outgoing) > limits.REPLAY_BYTES:
            self._outgoing = None
        self._arm_request()

    def _arm_request(self) -> None:
        timeouts, downstream = self.timeouts, self.downstream
        seconds = timeouts.response_head_s if self._request_left == NONE else timeouts.request_body_s
        until = downstream.plane.now + seconds
        downstream.deadline = until if until < self._total_until else self._total_until

    def _arm(self, seconds: float) -> None:
        until = self.downstream.plane.now + seconds
        self.downstream.deadline = until if until < self._total_until else self._total_until

    def _failed(self, failure: int) -> None:
        """The attempt has failed before a byte of a final response; another upstream, or an error."""
        upstream, connection = self._upstream, self._connection
        assert upstream is not None  # noqa: S101 - an attempt has an upstream
        upstream.cells[failure] += 1
        stale = connection is not None and connection.reused and failure == RESET and not self._partial
        self._partial = b""
        self._drop_connection()
        self.downstream.transport.resume_reading()  # what held the client back has gone
        self._tried = (*self._tried, upstream)
        if self._may_retry(failure, stale=stale):
            other = self.pool.choose(self._tried) or (upstream if stale else None)
            if other is not None:
                upstream.in_flight -= 1
                upstream.cells[IN_FLIGHT] = upstream.in_flight
                upstream.cells[RETRIED] += 1
                self._send(other)
                return
        status, reason = _FAILURES[failure]
        self._count(status // 100)
        self._answer(status, reason)

    def _may_retry(self, failure: int, *, stale: bool) -> bool:
        if self._outgoing is None or len(self._tried) > self.service.view.policy.retries.attempts:
            return False
        if self.downstream.plane.now >= self._total_until:
            return False
        # A request that was not sent, or may be sent twice. A timeout has used up the client's patience.
        if failure != CONNECT_FAILED and (failure == TIMED_OUT or self.head.method not in IDEMPOTENT):
            return False
        # The budget keeps retries from multiplying the load of a pool that suffers. A refused connection
        # was no load, and a kept-alive one that was closed under us says nothing about the pool.
        return stale or failure == CONNECT_FAILED or self.service.retry_budget.spend()

    def _is_unsent(self) -> bool:
        """True if the upstream has not even let us send what we have of the request."""
        return self._connection is not None and self._connection.transport.get_write_buffer_size() > 0

    def _is_unasked(self) -> bool:
        """True if the client waits for a 100 (Continue) that the upstream has not given."""
        if self._informational or self._outgoing is None or not self._outgoing.endswith(b"\r\n\r\n"):
            return False
        return self.head.fields.get(b"expect") is not None

    def _drop_connection(self) -> None:
        connection = self._connection
        self._connection = None
        if connection is not None:
            connection.close()
        elif self._connecting:
            self._connecting = False
            self.downstream.plane.give_up_connecting(self)

    # Private: the request body

    def _take_body(self, data: bytes) -> bytes:
        """The part of `data` that is this request's body; the rest is kept for the next request."""
        scanner = self._request_scanner
        if scanner is not None:
            body, rest = scanner.feed(data)
            if scanner.done:
                self._request_left = NONE
        else:
            left = self._request_left
            body, rest = data, b""
            if len(data) > left:
                body, rest = data[:left], data[left:]
            self._request_left = left - len(body)
        if rest:
            self._extra += rest
        return body

    def _client_error(self, error: ProxyError) -> None:
        """The client broke the request off in mid-body: the upstream must see an abort, not an end."""
        self._drop_connection()
        if self._responded:
            self._abandon()
            return
        if self._upstream is not None:
            self._count(error.status // 100)
        self.downstream.plane.unpark(self)
        self._answer(error.status, error.reason)

    # Private: the response

    def _respond(self, head: ResponseHead, data: bytes) -> None:
        """Sends the response's head, and as much of its body as came with it, in one write."""
        request, downstream, fields = self.head, self.downstream, head.fields
        self._responded = True
        self._status = head.status
        if (
            head.length == len(data) - head.size
            and request.plain
            and self._request_left == NONE
            and self._outgoing is not None
            and not self._cookie
            and not downstream.plane.draining
        ):
            # Nearly every response: all of it is here, and nothing about it has to change.
            self._keep = self._reusable = True
            plain = head.plain
            downstream.transport.write(data if plain is head.raw else plain + data[head.size :])
            self._finish(b"")
            return
        left = framing.response_body(request.method, head.status, fields)
        minor = request.minor
        early = self._request_left != NONE or (self._outgoing is None and self._is_unsent())
        keep = request.keeps and not early and not downstream.plane.draining
        self._reusable = head.minor == 1 and not fields.close and not early
        self._encode = False
        coding = Coding.AS_IS
        if fields.chunked and (not minor or head.status == 204):
            coding = Coding.REMOVED  # RFC 9112 section 6.1: neither of them may carry Transfer-Encoding
        if left == UNTIL_CLOSE:
            self._reusable = False
            if minor:
                self._encode = True
                coding = Coding.ADDED
            else:
                keep = False
        elif left == CHUNKED:
            self._response_scanner = ChunkedScanner(502, decode=not minor)
            if not minor:
                keep = False
        self._keep = keep
        self._response_left = left
        connection = b"" if keep and minor else (b"keep-alive" if keep else b"close")
        out = rewrite.response_head(head, connection=connection, set_cookie=self._cookie, coding=coding)
        body = data[head.size :]
        if left == NONE:
            downstream.transport.write(out)
            self._finish(body)
        else:
            self._relay(body, out)

    def _relay(self, data: bytes, head: bytes = b"") -> None:
        """Passes response bytes on as they come, and notices the end."""
        transport = self.downstream.transport
        left = self._response_left
        if left > 0:
            size = len(data)
            if size < left:
                self._response_left = left - size
                transport.write(head + data if head else data)
                self._arm(self.service.view.policy.timeouts.idle_s)
                return
            self._response_left = NONE
            transport.write(head + data[:left])
            self._finish(data[left:])
            return
        scanner = self._response_scanner
        if scanner is not None:
            try:
                data, rest = scanner.feed(data)
            except ProxyError:
                if self._upstream is not None:
                    self._upstream.cells[INVALID] += 1
                if head:
                    transport.write(head)
                self._abandon()
                return
            if scanner.done:
                self._response_left = NONE
            if head or data:
                transport.write(head + data)
            if scanner.done:
                self._finish(rest)
                return
        elif self._encode and data:
            transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        elif head or data:
            transport.write(head + data)
        self._arm(self.service.view.policy.timeouts.idle_s)

    def _finish(self, rest: bytes) -> None:
        """The response has ended as its framing said; `rest` came behind it and belongs to nobody."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            if self._reusable and not rest and self._request_left == NONE:
                connection.user = None
                connection.reused = True
                keepalive.put(connection, self.downstream.plane.now)
            else:
                connection.close()
        self._complete()

    def _complete(self) -> None:
        self._count(self._status // 100)
        if self._keep:
            self.downstream.next_request(self._extra)
        elif self._request_left != NONE:
            self.downstream.close_lingering()
        else:
            self.downstream.user = None
            self.downstream.transport.close()

    def _count(self, status_class: int) -> None:
        """Ends the request in the books: once, and for the upstream that answered or failed last."""
        upstream = self._upstream
        if upstream is None:
            return
        self._upstream = None
        cells = upstream.cells
        upstream.in_flight = in_flight = upstream.in_flight - 1
        cells[IN_FLIGHT] = in_flight
        cells[RESPONSES + status_class] += 1
        duration_us = (perf_counter_ns() - self._started_ns) // 1000
        cells[DURATION_US] += duration_us
        cells[HISTOGRAM + bisect_left(LATENCY_BOUNDS_US, duration_us)] += 1
        if in_flight == 0 and self.downstream.plane.awaited:
            self.downstream.plane.notify()

    def _answer(self, status: int, reason: str, *, retry_after_s: int | None = None) -> None:
        """Answers in place of an upstream. The request has been counted by the caller."""
        downstream, request = self.downstream, self.head
        fields = request.fields
        close = fields.close or self._request_left != NONE or downstream.plane.draining or not request.minor
        downstream.transport.write(
            responses.error_response(
                status,
                reason,
                json=responses.wants_json(fields.lower),
                head_only=request.method == b"HEAD",
                close=close,
                retry_after_s=retry_after_s,
            )
        )
        if close:
            downstream.close_lingering()
        else:
            downstream.next_request(self._extra)

    def _abandon(self) -> None:
        """Ends both sides where they are: the client sees an abort, which is what happened."""
        self._drop_connection()
        self._count(0 if not self._responded else self._status // 100)
        self.downstream.plane.unpark(self)
        self.downstream.user = None
        self.downstream.reset()

    def _switch_protocols(self, head: ResponseHead, data: bytes) -> None:
        """RFC 9110 section 7.8: from here on both sides speak something else."""
        connection, upstream = self._connection, self._upstream
        assert connection is not None and upstream is not None  # noqa: S101, PT018 - the response came by it
        asked = self.head.minor and self.head.fields.upgrade
        if not asked or head.fields.upgrade is None or self._request_left != NONE:
            self._failed(INVALID)
            return
        self._connection = None
        out = rewrite.response_head(head, connection=b"Upgrade", set_cookie=self._cookie)
        tunnel = Tunnel(self.downstream, connection, self.service, self.pool.name, upstream)
        tunnel.begin(out + data[head.size :], self._extra + self.downstream.take_kept())
        self._count(1)  # now that the tunnel is counted: a drain must see one of the two at any time
