"""One request and its response: the straight line that a reader should follow from top to bottom.

`choose` decides (route, split, balance) and counts the request in flight in one synchronous step, so that
a drain or a hold misses nobody. From then on the two sides report to this object, and it relays. What
becomes of a request that fails is decided in `failure`, what is counted and told of it is in `books`.
"""

from __future__ import annotations

from math import inf
from time import perf_counter_ns
from typing import TYPE_CHECKING

from bgproxy.errors import ProxyError
from bgproxy.http1 import limits as http_limits
from bgproxy.http1 import rewrite
from bgproxy.http1.forwarding import request_id_of
from bgproxy.http1.head import RequestHead, ResponseHead, parse_response
from bgproxy.http1.rewrite import Coding
from bgproxy.proxy import admission, books, failure, keepalive
from bgproxy.proxy.answer import answer
from bgproxy.proxy.request_body import RequestBody
from bgproxy.proxy.response import Response
from bgproxy.proxy.tunnel import Tunnel
from bgproxy.proxy.websocket import is_websocket
from bgproxy.routing.retry import IDEMPOTENT
from bgproxy.shared_memory.counters import CONNECT_FAILED, IN_FLIGHT, INVALID, RESET, RESPONSES

if TYPE_CHECKING:
    from bgproxy.proxy.downstream import Downstream
    from bgproxy.proxy.mirror import Shadow
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LivePool, LiveUpstream
    from bgproxy.routing.split import LiveService


class Exchange:
    """Implements `UpstreamUser` and `DownstreamUser` for one request."""

    __slots__ = (
        "_cookie",
        "attempts",
        "body",
        "body_bytes",
        "connect_ns",
        "connected_ns",
        "connecting",
        "connection",
        "downstream",
        "extra",
        "head",
        "informational",
        "outgoing",
        "partial",
        "pool",
        "renamed",
        "responded_ns",
        "response",
        "service",
        "shadow",
        "started_ns",
        "tail",
        "total_until",
        "tried",
        "under_way",
        "upstream",
    )

    # unset until it is known
    service: LiveService
    pool: LivePool
    body_bytes: int
    connect_ns: int
    responded_ns: int
    renamed: bool  # it goes upstream with another Host
    _cookie: bytes

    def __init__(self, downstream: Downstream, head: RequestHead, tail: bytes) -> None:
        self.downstream = downstream
        self.head = head
        self.tail = tail  # of the head that goes upstream, this request's own
        self.started_ns = perf_counter_ns()
        # the request: what is still to come, and what is kept for another try (None: too much)
        self.body: RequestBody | None = None
        self.outgoing: bytes | None = None
        self.extra = b""
        # the attempt, and the ones that have failed
        self.upstream: LiveUpstream | None = None
        self.attempts = 0
        self.under_way = False  # counted in flight
        self.connection: UpstreamConnection | None = None
        self.connecting = False
        self.connected_ns = 0  # 0: never
        self.tried: tuple[LiveUpstream, ...] = ()
        self.total_until = inf
        # the response; None until its head has come, and if all of it came at once
        self.response: Response | None = None
        self.informational = 0
        self.partial = b""
        self.shadow: Shadow | None = None

    # The request: route, split, balance, send

    def start(self, data: bytes) -> None:
        """Takes the request from `data`, which begins with its head, and sends it on its way."""
        head, outgoing = self.head, self.downstream.outgoing + self.tail
        if head.has_body:
            rest = data[head.size :]
            if len(rest) == head.fields.content_length:  # all of it is here
                self.body_bytes = len(rest)
                outgoing += rest
            else:
                self.body = body = RequestBody(head.fields)
                try:
                    outgoing += self._take_body(body, rest)
                except ProxyError as error:
                    self.downstream.refuse(error)
                    return
        elif len(data) > head.size:
            self.extra = data[head.size :]
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
            answer(self, 404, "no service is configured for this host and path", routed=False)
            return
        service, preview = route
        preview = preview or downstream.preview
        self.service = service
        if service.special and not admission.admits(self, service, preview=preview):
            return
        choice = service.preview() if preview else service.undivided
        pool, self._cookie = service.split(head) if choice is None else choice
        self.pool = pool
        service.retry_budget.requests += 1
        if service.total_s != inf and self.total_until == inf:
            self.total_until = plane.now + service.total_s
        key = pool.hash_key
        upstream = pool.choose() if key is None else pool.choose_by(key(head, downstream.peer))
        if upstream is None:
            admission.wait_or_refuse(self, service, pool)
            return
        if service.mirror is not None:
            self.shadow = plane.shadows.begin(self)
        self.send(upstream)

    def take_turn(self) -> None:
        """It was queued, and there is room in its pool."""
        pool, key = self.pool, self.pool.hash_key
        upstream = pool.choose() if key is None else pool.choose_by(key(self.head, self.downstream.peer))
        if upstream is None:
            admission.wait_or_refuse(self, self.service, pool)
        else:
            self.send(upstream)

    def choose_anew(self) -> None:
        """It waited, and what its service is now may have no Host of its own."""
        if getattr(self, "renamed", False) and self.outgoing is not None:
            self.renamed = False
            self.outgoing = rewrite.with_host(self.outgoing, self.head.host)
        self.choose()

    def parked_bytes(self) -> int:
        """What a hold or a queue keeps of this request."""
        return len(self.outgoing or b"") + len(self.extra)

    @property
    def request_id(self) -> bytes:
        return request_id_of(self.head.fields, self.tail)

    # DownstreamUser: what the client does

    def client_data(self, data: bytes) -> None:
        body = self.body
        if body is None:
            self.downstream.keep(data)
            return
        try:
            data = self._take_body(body, data)
        except ProxyError as error:
            failure.client_failed(self, error)
            return
        connection = self.connection
        if connection is not None and not self.connecting:
            if self.outgoing is not None:
                kept = len(self.outgoing) + len(data)
                self.outgoing = self.outgoing + data if kept <= self.service.retries.body_bytes else None
            connection.transport.write(data)
            if self.response is None:
                timeouts = self.service.timeouts
                self._arm(timeouts.response_head_s if self.body is None else timeouts.request_body_s)
        elif self.outgoing is not None:
            self.outgoing += data
            if self.body is not None and len(self.outgoing) > self.service.retries.body_bytes:
                self.downstream.transport.pause_reading()

    def client_eof(self) -> bool:
        if self.body is not None:
            # The request can never be completed; the upstream must not take it for a whole one.
            failure.abandon(self, "client_left")
            return False
        return True

    def client_gone(self) -> None:
        if self.downstream.plane.forget(self):
            self.service.cells[RESPONSES] += 1  # it was nobody's yet but the service's
        books.end_shadow(self, complete=False)
        books.count(self, 0)
        self.drop_connection()
        books.log(self, 0, "client_left")

    def client_full(self) -> None:
        if self.response is not None and self.response.is_complete():
            return  # this was the end of the response: the connection is as good as kept
        if self.connection is not None and not self.connecting:
            self.connection.paused = True
            self.connection.transport.pause_reading()

    def client_drained(self) -> None:
        if self.connection is not None and not self.connecting:
            self.connection.paused = False
            self.connection.transport.resume_reading()

    def timed_out(self) -> None:
        failure.timed_out(self)

    # UpstreamUser: what the upstream does

    def upstream_connected(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self.connecting = False
        self.connected_ns = perf_counter_ns()
        if self.body is not None:
            self.downstream.transport.resume_reading()  # before the upstream may ask to pause it again
        self._write_request(connection)

    def connect_failed(self) -> None:
        self.connecting = False
        failure.attempt_failed(self, CONNECT_FAILED)

    def upstream_data(self, data: bytes) -> None:
        if self.response is not None:
            self._relay(self.response, data)
            return
        if self.partial:
            data = self.partial + data
            self.partial = b""
        upstream = self.upstream
        assert upstream is not None  # noqa: S101 - bytes come from the one that was chosen
        head = upstream.response_memo
        if head is None or not data.startswith(head.raw):  # the last one again?
            head = self._read_head(upstream, data)
            if head is None:
                return
        if (
            head.length == len(data) - head.size
            and self.head.plain
            and self.body is None
            and self.outgoing is not None
            and not self.service.special
            and not self.downstream.plane.draining
        ):
            self._respond_at_once(head, data)
        elif head.status == 101:
            self._switch_protocols(head, data)
        else:
            self._respond(head, data)

    def upstream_eof(self) -> None:
        response = self.response
        if response is not None and response.end_of_file():
            self.drop_connection()
            self._complete(response)
        else:
            self.upstream_gone(None)

    def upstream_gone(self, error: Exception | None) -> None:  # noqa: ARG002 - an end of the file comes by itself
        if self.response is None:
            failure.attempt_failed(self, RESET)
        else:
            # Truncation must be visible (RFC 9112 section 8): no clean end, no final chunk.
            books.blame(self, RESET)
            failure.abandon(self, "upstream_reset")

    def upstream_full(self) -> None:
        self.downstream.choked = True
        self.downstream.transport.pause_reading()

    def upstream_drained(self) -> None:
        self.downstream.choked = False
        self.downstream.transport.resume_reading()

    # Private: the attempt

    def send(self, upstream: LiveUpstream) -> None:
        upstream.in_flight = in_flight = upstream.in_flight + 1
        upstream.cells[IN_FLIGHT] = in_flight
        self.upstream = upstream
        self.attempts += 1
        self.under_way = True
        if upstream.idle:
            head = self.head
            replayable = head.method in IDEMPOTENT and not self.tried
            if replayable and head.has_body:
                replayable = self.body is None and self.is_kept()
            connection = keepalive.take(upstream, self.downstream.plane.now, replayable=replayable)
            if connection is not None:
                connection.user = self
                self.connection = connection
                self._write_request(connection)
                return
        self.connecting = True
        self.connect_ns = perf_counter_ns()
        self._arm(self.service.timeouts.connect_s)
        self.downstream.plane.connector.connect(upstream, self, self.service, self.downstream)

    def _write_request(self, connection: UpstreamConnection) -> None:
        outgoing, service = self.outgoing, self.service
        assert outgoing is not None  # noqa: S101 - it is dropped only once it was written
        connection.transport.write(outgoing)
        if len(outgoing) > service.retry_body_bytes:
            self.outgoing = None
        self._arm(service.response_head_s if self.body is None else service.timeouts.request_body_s)

    def _arm(self, seconds: float) -> None:
        downstream = self.downstream
        until = downstream.plane.now + seconds
        downstream.deadline = until if until < self.total_until else self.total_until

    def is_kept(self) -> bool:
        """True if what there is of the request is little enough to be sent once more."""
        return self.outgoing is not None and len(self.outgoing) <= self.service.retry_body_bytes

    def is_unsent(self) -> bool:
        """True if the upstream has not even let us send what we have of the request."""
        return self.connection is not None and self.connection.transport.get_write_buffer_size() > 0

    def drop_connection(self) -> None:
        connection = self.connection
        self.connection = None
        if connection is not None:
            connection.close()
        elif self.connecting:
            self.connecting = False
            self.downstream.plane.connector.give_up(self)

    # Private: the request body

    def _take_body(self, body: RequestBody, data: bytes) -> bytes:
        """The part of `data` that is this request's body; the rest is kept for the next request."""
        data, rest = body.take(data)
        if body.done:
            self.body = None
            self.body_bytes = body.taken
        if rest:
            self.extra += rest
        return data

    # Private: the response

    def _read_head(self, upstream: LiveUpstream, data: bytes) -> ResponseHead | None:
        """The head of a response that is not its upstream's last one; None if there is none to go on with.

        The upstreams of a pool often say the same, and share what was made of it.
        """
        pool = self.pool
        head: ResponseHead | None = pool.response_memo
        if head is None or not data.startswith(head.raw):
            try:
                head = parse_response(data, upstream.response_memo)
            except ProxyError:
                failure.attempt_failed(self, INVALID)
                return None
            if head is None:
                self.partial = data
                return None
            if head.status < 200 and head.status != 101:
                self._inform(head, data[head.size :])
                return None
            head.add_date(self.downstream.plane.date)
            pool.response_memo = head
        upstream.response_memo = head
        if head.date:
            self.downstream.plane.dated.update((pool, upstream))
        return head

    def _inform(self, head: ResponseHead, rest: bytes) -> None:
        """Passes on a 1xx; `rest` came behind it."""
        self.informational += 1
        if self.informational > http_limits.INFORMATIONAL_RESPONSES:
            failure.attempt_failed(self, INVALID)
            return
        if self.head.minor:
            self.downstream.transport.write(rewrite.response_head(head, coding=Coding.REMOVED))
        if rest:
            self.upstream_data(rest)

    def _respond_at_once(self, head: ResponseHead, data: bytes) -> None:
        """Nearly every response: all of it is here, and nothing about it has to change but the end of its head."""
        downstream, connection, keeps = self.downstream, self.connection, self.head.keeps
        assert connection is not None  # noqa: S101 - the response came by it
        self.connection = None
        begin = head.plain if keeps else head.last
        if self._cookie:
            data = b"%bSet-Cookie: %b\r\n\r\n%b" % (begin[:-2], self._cookie, data[head.size :])
        elif begin is not head.raw:
            data = begin + data[head.size :]
        downstream.transport.write(data)
        connection.user = None
        connection.reused = True
        keepalive.put(connection, downstream.plane.now, self.service.keepalive, head.fields.keep_alive_s)
        books.count(self, head.status // 100)
        if downstream.plane.access_log is not None:
            books.log(self, head.status, "ok", len(data))
        if keeps:
            downstream.next_request(self.extra)
        else:
            downstream.user = None
            downstream.transport.close()

    def _respond(self, head: ResponseHead, data: bytes) -> None:
        """Sends the response's head, and as much of its body as came with it, in one write."""
        downstream, service, request = self.downstream, self.service, self.head
        self.responded_ns = perf_counter_ns()
        early = self.body is not None or (self.outgoing is None and self.is_unsent())
        self.response = response = Response(
            downstream.transport,
            request,
            head,
            keep=request.keeps and not early and not downstream.plane.draining,
            reusable=not early and not service.view.policy.send_proxy,
        )
        if self.shadow is not None:
            self.shadow.primary_head(head)
        pool = service.pool_header
        self._relay(response, data[head.size :], pool=b"" if pool is None else pool(self.pool), begin=True)

    def _relay(self, response: Response, data: bytes, *, pool: bytes = b"", begin: bool = False) -> None:
        """Passes response bytes on as they come, and notices the end."""
        if self.shadow is not None:
            self.shadow.primary_data(data)
        try:
            if begin:
                rest = response.begin(self.head.minor, data, set_cookie=self._cookie, pool=pool)
            else:
                rest = response.feed(data)
        except ProxyError:
            books.blame(self, INVALID)
            failure.abandon(self, "upstream_invalid")
            return
        if rest is None:
            self._arm(self.service.timeouts.idle_s)
        elif self.response is response:  # else the client has left while it was written to
            self._finish(response, rest)

    def _finish(self, response: Response, rest: bytes) -> None:
        """The response has ended as its framing said; `rest` came behind it and belongs to nobody."""
        connection = self.connection
        if connection is not None:
            self.connection = None
            if response.reusable and not rest and self.body is None:
                connection.user = None
                connection.reused = True
                hint_s = response.head.fields.keep_alive_s
                keepalive.put(connection, self.downstream.plane.now, self.service.keepalive, hint_s)
            else:
                connection.close()
        self._complete(response)

    def _complete(self, response: Response) -> None:
        downstream, status = self.downstream, response.head.status
        books.end_shadow(self, complete=True)
        books.count(self, status // 100)
        books.log(self, status, "ok", response.sent)
        if response.keep:
            downstream.next_request(self.extra)
        elif self.body is not None:
            downstream.close_lingering()
        else:
            downstream.user = None
            downstream.transport.close()

    def _switch_protocols(self, head: ResponseHead, data: bytes) -> None:
        """RFC 9110 section 7.8: from here on both sides speak something else."""
        connection, upstream = self.connection, self.upstream
        assert connection is not None and upstream is not None  # noqa: S101, PT018 - the response came by it
        asked = self.head.fields.upgrade if self.head.minor else None
        agreed = head.fields.upgrade
        if not asked or agreed is None or self.body is not None:
            failure.attempt_failed(self, INVALID)
            return
        self.connection = None
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
        tunnel.begin(out + data[head.size :], self.extra + self.downstream.take_kept())
        books.count(self, 1)  # now that the tunnel is counted: a drain must see one of the two at any time
        books.log(self, 101, "upgraded", len(out))
