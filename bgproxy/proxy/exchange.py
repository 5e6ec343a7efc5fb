"""One request and its response: the straight line that a reader should follow from top to bottom.

`choose` decides (route, split, balance) and counts the request in flight in one synchronous step, so that
a drain or a hold misses nobody. From then on the two sides report to this object, and it decides: relay,
retry, answer with an error, or abort. Errors of a peer become decisions here and nowhere else.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from bgproxy.errors import ProxyError
from bgproxy.http1 import limits as http_limits
from bgproxy.http1 import responses, rewrite
from bgproxy.http1.forwarding import request_id_of
from bgproxy.http1.head import RequestHead, ResponseHead, parse_response
from bgproxy.http1.rewrite import Coding
from bgproxy.observability.access import Outcome
from bgproxy.proxy import admission, keepalive
from bgproxy.proxy.log_entry import note
from bgproxy.proxy.request_body import RequestBody
from bgproxy.proxy.response import Response
from bgproxy.proxy.tunnel import Tunnel
from bgproxy.proxy.websocket import is_websocket
from bgproxy.routing.retry import IDEMPOTENT, may_repeat
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
    from bgproxy.proxy.mirror import Shadow
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LivePool, LiveUpstream
    from bgproxy.routing.split import LiveService

_FAILURES: Final[dict[int, tuple[int, str, Outcome]]] = {
    CONNECT_FAILED: (502, "no upstream could be connected to", "connect_failed"),
    RESET: (502, "the upstream closed the connection before it answered", "upstream_reset"),
    TIMED_OUT: (504, "the upstream did not answer in time", "upstream_timeout"),
    INVALID: (502, "the upstream's response was not valid HTTP", "upstream_invalid"),
}


class Exchange:
    """Implements `UpstreamUser` and `DownstreamUser` for one request."""

    __slots__ = (
        "_connecting",
        "_connection",
        "_cookie",
        "_extra",
        "_informational",
        "_partial",
        "_response",
        "_shadow",
        "_total_until",
        "_tried",
        "_under_way",
        "attempts",
        "body",
        "body_bytes",
        "connect_ns",
        "connected_ns",
        "downstream",
        "head",
        "outgoing",
        "pool",
        "responded_ns",
        "service",
        "started_ns",
        "tail",
        "upstream",
    )

    # unset until it is known
    service: LiveService
    pool: LivePool
    body_bytes: int
    connect_ns: int
    connected_ns: int
    responded_ns: int
    _cookie: bytes

    def __init__(self, downstream: Downstream, head: RequestHead, tail: bytes) -> None:
        self.downstream = downstream
        self.head = head
        self.tail = tail  # of the head that goes upstream, this request's own
        self.started_ns = perf_counter_ns()
        # the request: what is still to come, and what is kept for another try (None: too much)
        self.body: RequestBody | None = None
        self.outgoing: bytes | None = None
        self._extra = b""
        # the attempt, and the ones that have failed
        self.upstream: LiveUpstream | None = None
        self.attempts = 0
        self._under_way = False  # counted in flight
        self._connection: UpstreamConnection | None = None
        self._connecting = False
        self._tried: tuple[LiveUpstream, ...] = ()
        self._total_until = inf
        # the response; None until its head has come, and if all of it came at once
        self._response: Response | None = None
        self._informational = 0
        self._partial = b""
        self._shadow: Shadow | None = None

    # The request: route, split, balance, send

    def start(self, data: bytes) -> None:
        """Takes the request from `data`, which begins with its head, and sends it on its way."""
        head, outgoing = self.head, self.downstream.outgoing + self.tail
        fields = head.fields
        if fields.content_length or fields.chunked:
            self.body = RequestBody(fields)
            try:
                outgoing += self._take_body(data[head.size :])
            except ProxyError as error:
                self.downstream.refuse(error)
                return
        elif len(data) > head.size:
            self._extra = data[head.size :]
        self.outgoing = outgoing
        self.choose()

    def choose(self) -> None:
        """Route, split, balance and count, without an await in between; again after a hold or a queue."""
        downstream, head = self.downstream, self.head
        plane = downstream.plane
        if plane.word[0] != plane.known:
            plane.adopt()
        route = plane.table.find(head.host, head.target)
        if route is None:
            plane.unrouted[RESPONSES + 4] += 1
            self.answer(404, "no service is configured for this host and path", routed=False)
            return
        service, preview = route
        preview = preview or downstream.preview
        self.service = service
        if service.special and not admission.admits(self, service, preview=preview):
            return
        pool, self._cookie = service.preview() if preview else service.split(head)
        self.pool = pool
        key = pool.hash_key
        upstream = pool.choose() if key is None else pool.choose_by(key(head, downstream.peer))
        if upstream is None:
            admission.wait_or_refuse(self, service, pool)
            return
        service.retry_budget.requests += 1
        if service.timeouts.total_s != inf and self._total_until == inf:
            self._total_until = plane.now + service.timeouts.total_s
        if service.mirror is not None:
            self._shadow = plane.shadows.begin(self)
        self._send(upstream)

    def refuse(self, status: int, reason: str) -> None:
        """Answers a request that no upstream has seen."""
        self.service.cells[RESPONSES + status // 100] += 1
        if status == 503:
            self.answer(status, reason, "unavailable", retry_after_s=1)
        else:
            self.answer(status, reason)

    def answer(
        self,
        status: int,
        reason: str,
        outcome: Outcome = "refused",
        *,
        retry_after_s: int | None = None,
        routed: bool = True,
    ) -> None:
        """Answers in place of an upstream. The request has been counted by the caller."""
        downstream, request = self.downstream, self.head
        fields = request.fields
        close = fields.close or self.body is not None or downstream.plane.draining or not request.minor
        answer = responses.error_response(
            status,
            reason,
            downstream.plane.date,
            json=responses.wants_json(fields.lower),
            head_only=request.method == b"HEAD",
            close=close,
            retry_after_s=retry_after_s,
            pages=self.service.error_pages if routed else None,
            request_id=self.request_id,
        )
        downstream.transport.write(answer)
        self._log(status, outcome, len(answer))
        if close:
            downstream.close_lingering()
        else:
            downstream.next_request(self._extra)

    def parked_bytes(self) -> int:
        """What a hold or a queue keeps of this request."""
        return len(self.outgoing or b"") + len(self._extra)

    @property
    def request_id(self) -> bytes:
        return request_id_of(self.head.fields, self.tail)

    # DownstreamUser: what the client does

    def client_data(self, data: bytes) -> None:
        if self.body is None:
            self.downstream.keep(data)
            return
        try:
            data = self._take_body(data)
        except ProxyError as error:
            self._client_error(error)
            return
        connection = self._connection
        if connection is not None and not self._connecting:
            if self.outgoing is not None:
                kept = len(self.outgoing) + len(data)
                self.outgoing = self.outgoing + data if kept <= self.service.retries.body_bytes else None
            connection.transport.write(data)
            if self._response is None:
                self._arm_request()
        elif self.outgoing is not None:
            self.outgoing += data
            if self.body is not None and len(self.outgoing) > self.service.retries.body_bytes:
                self.downstream.transport.pause_reading()

    def client_eof(self) -> bool:
        if self.body is not None:
            # The request can never be completed; the upstream must not take it for a whole one.
            self._abandon("client_left")
            return False
        return True

    def client_gone(self) -> None:
        if self.downstream.plane.forget(self):
            self.service.cells[RESPONSES] += 1  # it was nobody's yet but the service's
        self._end_shadow(complete=False)
        self._count(0)
        self._drop_connection()
        self._log(0, "client_left")

    def client_full(self) -> None:
        if self._response is not None and self._response.is_complete():
            return  # this was the end of the response: the connection is as good as kept
        if self._connection is not None and not self._connecting:
            self._connection.transport.pause_reading()

    def client_drained(self) -> None:
        if self._connection is not None and not self._connecting:
            self._connection.transport.resume_reading()

    def timed_out(self) -> None:
        if not self._under_way:
            if self.downstream.plane.queue.leave(self):
                self.refuse(503, "no upstream of the service had room for this request in time")
            return  # else it is parked: the hold has a deadline of its own
        if self._response is not None:
            self._blame(TIMED_OUT)
            self._abandon("upstream_timeout")
        elif self.body is not None and not (self._connecting or self._is_unsent() or self._is_unasked()):
            self._client_error(ProxyError(408, "the request body did not arrive in time"))
        else:
            self._failed(CONNECT_FAILED if self._connecting else TIMED_OUT)

    # UpstreamUser: what the upstream does

    def upstream_connected(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._connecting = False
        self.connected_ns = perf_counter_ns()
        self._write_request(connection)
        if self.body is not None:
            self.downstream.transport.resume_reading()

    def connect_failed(self) -> None:
        self._connecting = False
        self._failed(CONNECT_FAILED)

    def upstream_data(self, data: bytes) -> None:
        if self._response is not None:
            self._relay(self._response, data)
            return
        if self._partial:
            data = self._partial + data
            self._partial = b""
        upstream = self.upstream
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
        if head is not upstream.response_memo:
            head.add_date(self.downstream.plane.date)
            upstream.response_memo = head
            upstream.keep_alive_s = head.fields.keep_alive_s
        if head.status == 101:
            self._switch_protocols(head, data)
        elif (
            head.length == len(data) - head.size
            and self.head.plain
            and self.body is None
            and self.outgoing is not None
            and not self._cookie
            and not self.service.special
            and not self.downstream.plane.draining
        ):
            self._respond_at_once(head, data)
        else:
            self._respond(head, data)

    def upstream_eof(self) -> None:
        response = self._response
        if response is not None and response.end_of_file():
            self._drop_connection()
            self._complete(response)
        else:
            self.upstream_gone(None)

    def upstream_gone(self, error: Exception | None) -> None:  # noqa: ARG002 - an end of the file comes by itself
        if self._response is None:
            self._failed(RESET)
        else:
            # Truncation must be visible (RFC 9112 section 8): no clean end, no final chunk.
            self._blame(RESET)
            self._abandon("upstream_reset")

    def upstream_full(self) -> None:
        self.downstream.transport.pause_reading()

    def upstream_drained(self) -> None:
        self.downstream.transport.resume_reading()

    # Private: the attempt

    def _send(self, upstream: LiveUpstream) -> None:
        upstream.in_flight = in_flight = upstream.in_flight + 1
        upstream.cells[IN_FLIGHT] = in_flight
        self.upstream = upstream
        self.attempts += 1
        self._under_way = True
        connection = (
            keepalive.take(
                upstream,
                self.downstream.plane.now,
                replayable=not self._tried and self.head.method in IDEMPOTENT,
            )
            if upstream.idle
            else None
        )
        if connection is None:
            self._connecting = True
            self.connect_ns = perf_counter_ns()
            self._arm(self.service.timeouts.connect_s)
            self.downstream.plane.connector.connect(upstream, self, self.service, self.downstream)
            return
        connection.user = self
        self._connection = connection
        self._write_request(connection)

    def _write_request(self, connection: UpstreamConnection) -> None:
        outgoing = self.outgoing
        assert outgoing is not None  # noqa: S101 - it is dropped only once it was written
        connection.transport.write(outgoing)
        if len(outgoing) > self.service.retries.body_bytes:
            self.outgoing = None
        self._arm_request()

    def _arm_request(self) -> None:
        timeouts, downstream = self.service.timeouts, self.downstream
        seconds = timeouts.response_head_s if self.body is None else timeouts.request_body_s
        until = downstream.plane.now + seconds
        downstream.deadline = until if until < self._total_until else self._total_until

    def _arm(self, seconds: float) -> None:
        downstream = self.downstream
        until = downstream.plane.now + seconds
        downstream.deadline = until if until < self._total_until else self._total_until

    def _failed(self, failure: int) -> None:
        """The attempt has failed before a byte of a final response; another upstream, or an error."""
        upstream, connection = self.upstream, self._connection
        assert upstream is not None  # noqa: S101 - an attempt has an upstream
        upstream.cells[failure] += 1
        stale = connection is not None and connection.reused and failure == RESET and not self._partial
        if upstream.observe is not None and not stale:
            upstream.observe(True, 0, self.downstream.plane.now)
        self._partial = b""
        self._drop_connection()
        self.downstream.transport.resume_reading()  # what held the client back has gone
        self._tried = (*self._tried, upstream)
        if self._may_retry(failure, stale=stale):
            other = self._another() or (upstream if stale else None)
            if other is not None:
                upstream.cells[RETRIED] += 1
                self._release(upstream)
                self._send(other)
                return
        status, reason, outcome = _FAILURES[failure]
        self._end_shadow(complete=False)
        self._count(status // 100, observed=True)
        self.answer(status, reason, outcome)

    def _another(self) -> LiveUpstream | None:
        pool, key = self.pool, self.pool.hash_key
        if key is None:
            return pool.choose(self._tried)
        return pool.choose_by(key(self.head, self.downstream.peer), self._tried)

    def _may_retry(self, failure: int, *, stale: bool) -> bool:
        retries = self.service.retries
        if self.outgoing is None or self.attempts > retries.attempts:
            return False
        if self.downstream.plane.now >= self._total_until:
            return False
        # A request that was not sent, or may be sent twice. A timeout has used up the client's patience.
        if failure != CONNECT_FAILED and (failure == TIMED_OUT or not may_repeat(self.head, retries)):
            return False
        # The budget keeps retries from multiplying the load of a pool that suffers. A refused connection
        # was no load, and a kept-alive one that was closed under us says nothing about the pool.
        return stale or failure == CONNECT_FAILED or self.service.retry_budget.spend()

    def _is_unsent(self) -> bool:
        """True if the upstream has not even let us send what we have of the request."""
        return self._connection is not None and self._connection.transport.get_write_buffer_size() > 0

    def _is_unasked(self) -> bool:
        """True if the client waits for a 100 (Continue) that the upstream has not given."""
        if self._informational or self.body is None or self.body.taken:
            return False
        return self.head.fields.get(b"expect") is not None

    def _drop_connection(self) -> None:
        connection = self._connection
        self._connection = None
        if connection is not None:
            connection.close()
        elif self._connecting:
            self._connecting = False
            self.downstream.plane.connector.give_up(self)

    # Private: the request body

    def _take_body(self, data: bytes) -> bytes:
        """The part of `data` that is this request's body; the rest is kept for the next request."""
        body = self.body
        assert body is not None  # noqa: S101 - called while there is more to come
        data, rest = body.take(data)
        if body.done:
            self.body = None
            self.body_bytes = body.taken
        if rest:
            self._extra += rest
        return data

    def _client_error(self, error: ProxyError) -> None:
        """The client broke the request off in mid-body: the upstream must see an abort, not an end."""
        self._drop_connection()
        if self._response is not None:
            self._abandon("client_error")
            return
        self._end_shadow(complete=False)
        if self._under_way:
            self._count(error.status // 100, observed=True)
        elif self.downstream.plane.forget(self):
            self.service.cells[RESPONSES + error.status // 100] += 1
        self.answer(error.status, error.reason, "client_error")

    # Private: the response

    def _respond_at_once(self, head: ResponseHead, data: bytes) -> None:
        """Nearly every response: all of it is here, and nothing about it has to change."""
        downstream, connection, plain = self.downstream, self._connection, head.plain
        assert connection is not None  # noqa: S101 - the response came by it
        self._connection = None
        downstream.transport.write(data if plain is head.raw else plain + data[head.size :])
        connection.user = None
        connection.reused = True
        keepalive.put(connection, downstream.plane.now, self.service.keepalive)
        self._count(head.status // 100)
        if downstream.plane.access_log is not None:
            self._log(head.status, "ok", len(data))
        downstream.next_request(self._extra)

    def _respond(self, head: ResponseHead, data: bytes) -> None:
        """Sends the response's head, and as much of its body as came with it, in one write."""
        downstream, service, request = self.downstream, self.service, self.head
        self.responded_ns = perf_counter_ns()
        early = self.body is not None or (self.outgoing is None and self._is_unsent())
        self._response = response = Response(
            downstream.transport,
            request,
            head,
            keep=request.keeps and not early and not downstream.plane.draining,
            reusable=not early and not service.view.policy.send_proxy,
        )
        if self._shadow is not None:
            self._shadow.primary_head(head)
        pool = service.pool_header
        self._relay(response, data[head.size :], pool=b"" if pool is None else pool(self.pool), begin=True)

    def _relay(self, response: Response, data: bytes, *, pool: bytes = b"", begin: bool = False) -> None:
        """Passes response bytes on as they come, and notices the end."""
        if self._shadow is not None:
            self._shadow.primary_data(data)
        try:
            if begin:
                rest = response.begin(self.head.minor, data, set_cookie=self._cookie, pool=pool)
            else:
                rest = response.feed(data)
        except ProxyError:
            self._blame(INVALID)
            self._abandon("upstream_invalid")
            return
        if rest is None:
            self._arm(self.service.timeouts.idle_s)
        elif self._response is response:  # else the client has left while it was written to
            self._finish(response, rest)

    def _finish(self, response: Response, rest: bytes) -> None:
        """The response has ended as its framing said; `rest` came behind it and belongs to nobody."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            if response.reusable and not rest and self.body is None:
                connection.user = None
                connection.reused = True
                keepalive.put(connection, self.downstream.plane.now, self.service.keepalive)
            else:
                connection.close()
        self._complete(response)

    def _complete(self, response: Response) -> None:
        downstream, status = self.downstream, response.head.status
        self._end_shadow(complete=True)
        self._count(status // 100)
        self._log(status, "ok", response.sent)
        if response.keep:
            downstream.next_request(self._extra)
        elif self.body is not None:
            downstream.close_lingering()
        else:
            downstream.user = None
            downstream.transport.close()

    def _count(self, status_class: int, *, observed: bool = False) -> None:
        """Ends the request in the books: once, and for the upstream that answered or failed last."""
        upstream = self.upstream
        if not self._under_way or upstream is None:
            return
        self._under_way = False
        cells = upstream.cells
        cells[RESPONSES + status_class] += 1
        duration_us = (perf_counter_ns() - self.started_ns) // 1000
        cells[DURATION_US] += duration_us
        cells[HISTOGRAM + bisect_left(LATENCY_BOUNDS_US, duration_us)] += 1
        if upstream.observe is not None and status_class and not observed:
            upstream.observe(status_class == 5, duration_us, self.downstream.plane.now)
        self._release(upstream)

    def _release(self, upstream: LiveUpstream) -> None:
        """The upstream has one request less."""
        plane = self.downstream.plane
        upstream.in_flight = in_flight = upstream.in_flight - 1
        upstream.cells[IN_FLIGHT] = in_flight
        if plane.queued:
            plane.queue.serve(self.service)
        if in_flight == 0 and plane.awaited:
            plane.notify()

    def _abandon(self, outcome: Outcome) -> None:
        """Ends both sides where they are: the client sees an abort, which is what happened."""
        response = self._response
        self._drop_connection()
        self._end_shadow(complete=False)
        status = 0 if response is None else response.head.status
        self._count(status // 100, observed=True)
        self.downstream.plane.forget(self)
        self._log(status, outcome, 0 if response is None else response.sent)
        self.downstream.user = None
        self.downstream.reset()

    def _switch_protocols(self, head: ResponseHead, data: bytes) -> None:
        """RFC 9110 section 7.8: from here on both sides speak something else."""
        connection, upstream = self._connection, self.upstream
        assert connection is not None and upstream is not None  # noqa: S101, PT018 - the response came by it
        asked = self.head.fields.upgrade if self.head.minor else None
        agreed = head.fields.upgrade
        if not asked or agreed is None or self.body is not None:
            self._failed(INVALID)
            return
        self._connection = None
        self.responded_ns = perf_counter_ns()
        out = rewrite.response_head(head, connection=b"Upgrade", set_cookie=self._cookie)
        tunnel = Tunnel(
            self.downstream,
            connection,
            self.service,
            self.pool.name,
            upstream,
            websocket=is_websocket(asked, agreed),
        )
        tunnel.begin(out + data[head.size :], self._extra + self.downstream.take_kept())
        self._count(1)  # now that the tunnel is counted: a drain must see one of the two at any time
        self._log(101, "upgraded", len(out))

    # Private: who else is told

    def _blame(self, failure: int) -> None:
        """The upstream failed after its response had begun."""
        upstream = self.upstream
        if upstream is not None and self._under_way:
            upstream.cells[failure] += 1
            if upstream.observe is not None:
                upstream.observe(True, 0, self.downstream.plane.now)

    def _end_shadow(self, *, complete: bool) -> None:
        if self._shadow is not None:
            self._shadow.primary_end(complete=complete)
            self._shadow = None

    def _log(self, status: int, outcome: Outcome, sent: int = 0) -> None:
        log = self.downstream.plane.access_log
        if log is not None:
            note(log, self, status, outcome, sent)
