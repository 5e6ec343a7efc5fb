"""Parts: whole requests through `Downstream`, `Exchange` and `UpstreamConnection`, between transports that do nothing.

What a loop and a kernel would add is not here. Nothing is ever connected or sent.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import count, cycle
from typing import Any, Final, cast

from benchmarks.micro.choices import PEER, service
from benchmarks.micro.heads import (
    BROWSER,
    BROWSER_NEXT,
    CHUNKED_HEAD,
    CHUNKS,
    RESPONSE_HEAD,
    SMALL,
    SMALL_BODY,
)
from benchmarks.micro.part import Call, Part
from bgproxy.model import AccessLog as AccessLogSettings
from bgproxy.model import Canary, Listener, ServiceView, Snapshot, Sticky
from bgproxy.model import Policy as ServicePolicy
from bgproxy.observability.access import FORMATS, rule
from bgproxy.proxy import books
from bgproxy.proxy.access_log import AccessLog
from bgproxy.proxy.dataplane import DataPlane
from bgproxy.proxy.downstream import Downstream
from bgproxy.proxy.exchange import Exchange
from bgproxy.proxy.origin import Origin
from bgproxy.proxy.upstream import UpstreamConnection
from bgproxy.shared_memory.counters import WorkerBlock
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.snapshot import SnapshotWriter, encode

POST: Final = b"POST /orders HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 4096\r\n\r\n" + b"x" * 4096
LAST: Final = b"GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n"
RESPONSE: Final = RESPONSE_HEAD % len(SMALL_BODY) + SMALL_BODY
PIECE: Final = b"x" * 16 * 1024
LARGE: Final = (RESPONSE_HEAD % (4 * len(PIECE)) + PIECE, PIECE, PIECE, PIECE)

SERVICES: Final = 200

_PORT: Final = 8080
_LONG_S: Final = 1e9


class Transport:
    """`written` has the last write."""

    def __init__(self) -> None:
        self.written: deque[bytes] = deque(maxlen=1)
        self.write = self.written.append

    def get_extra_info(self, name: str) -> object:
        return {"peername": (PEER.decode(), 40000), "socket": _quiet()}.get(name)

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def abort(self) -> None:
        raise AssertionError("a connection was given up, so this is not the request that was meant")

    close = pause_reading = abort


class LastTransport(Transport):
    """Of a client that wants its connection to end with the response."""

    def close(self) -> None:
        assert self.written  # noqa: S101 - it has its answer


class Quiet:
    """In place of a socket, for whoever asks whether there is news: never."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0)

    def fileno(self) -> int:
        return self._descriptor


class Relay:
    """A worker's data plane with one client and one kept-alive upstream connection."""

    def __init__(self, *views: ServiceView) -> None:
        memory = SharedMemory.create()
        SnapshotWriter(memory).publish(encode(Snapshot(1, views)))
        self.plane = DataPlane(memory, WorkerBlock(memory, 0), lambda: None)
        self.plane._sweeper.cancel()
        self._origin = Origin.of(Listener("public", f"127.0.0.1:{_PORT}"), _PORT)
        self.client = Transport()
        self.downstream = self.connect()
        self.upstreams = [self._keep_alive(upstream) for upstream in self.plane.table.upstreams.values()]
        self.upstream = self.upstreams[0]

    def connect(self) -> Downstream:
        """Another client connection."""
        downstream = Downstream(self.plane, self._origin)
        downstream.connection_made(cast("asyncio.Transport", self.client))
        return downstream

    # Private

    def _keep_alive(self, upstream: Any) -> UpstreamConnection:
        nobody: Any = None
        connection = UpstreamConnection(upstream, nobody, 0.0)
        connection.transport = cast("asyncio.Transport", Transport())
        connection.idle_until = self.plane.now + _LONG_S
        connection.reused = True
        upstream.idle.append(connection)
        return connection


# Private


@cache
def _quiet() -> Quiet:
    return Quiet()


def _exchange(
    requests: Iterable[bytes], answer: tuple[bytes, ...] = (RESPONSE,), view: ServiceView | None = None
) -> Call:
    relay = Relay(service() if view is None else view)
    ask, pieces = relay.downstream.data_received, cycle(requests)
    upstream = relay.upstream

    if len(answer) == 1:
        (whole,) = answer

        def exchange() -> Relay:
            ask(next(pieces))
            upstream.data_received(whole)
            return relay
    else:

        def exchange() -> Relay:
            ask(next(pieces))
            for piece in answer:
                upstream.data_received(piece)
            return relay

    return exchange


def _connection(request: bytes = SMALL, client: type[Transport] = Transport) -> Call:
    relay = Relay(service())
    relay.client = client()
    upstream = relay.upstream

    def exchange() -> Relay:
        downstream = relay.connect()
        downstream.data_received(request)
        upstream.data_received(RESPONSE)
        downstream.connection_lost(None)
        return relay

    return exchange


def _canary(*, sticky: bool = False) -> Call:
    """The requests of either side are answered by the connection that has them."""
    policy = ServicePolicy(sticky=Sticky(cookie="bgproxy")) if sticky else ServicePolicy()
    relay = Relay(service(policy, canary=Canary(weight=10, salt="r1")))
    request = BROWSER.replace(b"theme=dark", b"theme=dark; bgproxy=r1.77.a") if sticky else SMALL
    blue, green = relay.upstreams

    def exchange() -> Relay:
        relay.downstream.data_received(request)
        (blue if green.user is None else green).data_received(RESPONSE)
        return relay

    return exchange


def _hosts() -> Call:
    """Each request is for another of 200 services."""
    views = [
        replace(
            service(slot=10 + 2 * number),
            name=f"s{number}",
            slot=500 + number,
            tag=500 + number,
            hosts=(f"s{number}.example.com",),
        )
        for number in range(SERVICES)
    ]
    relay = Relay(*views)
    heads = [SMALL.replace(b"app.", b"s%d." % number) for number in range(SERVICES)]
    turns = cycle(zip(heads, relay.upstreams[::2], strict=True))

    def exchange() -> Relay:
        head, upstream = next(turns)
        relay.downstream.data_received(head)
        upstream.data_received(RESPONSE)
        return relay

    return exchange


def _cookies() -> Call:
    """Each request is of another client that has the same browser, as behind a proxy that shares its connections."""
    relay = Relay(service())
    sessions = count()

    def exchange() -> Relay:
        relay.downstream.data_received(BROWSER.replace(b"0123456789abcdef", b"%016d" % next(sessions)))
        relay.upstream.data_received(RESPONSE)
        return relay

    return exchange


class Unwritten(AccessLog):
    """Lines are made and forgotten."""

    def __init__(self, settings: AccessLogSettings) -> None:
        self.wants = rule(settings)
        self.form = FORMATS[settings.format]
        self._lines: list[bytes] = []

    def add(self, line: bytes) -> None:
        self._lines = [line]


def _logged(format_: str, requests: Iterable[bytes]) -> Call:
    relay = Relay(service())
    relay.plane.access_log = Unwritten(AccessLogSettings(format=format_))
    pieces = cycle(requests)

    def exchange() -> Relay:
        relay.downstream.data_received(next(pieces))
        relay.upstream.data_received(RESPONSE)
        return relay

    return exchange


def _counted() -> Call:
    relay = Relay(service())
    relay.downstream.data_received(SMALL)
    exchange = relay.downstream.user
    assert isinstance(exchange, Exchange)  # noqa: S101 - it waits for its answer
    upstream = exchange.upstream
    assert upstream is not None  # noqa: S101 - likewise

    def count() -> None:
        exchange.under_way = True
        upstream.in_flight = 1
        books.count(exchange, 2)

    return count


PARTS: Final = (
    Part("counters of a request", _counted),
    Part("request, small", lambda: _exchange([SMALL])),
    Part("request, 16 headers", lambda: _exchange([BROWSER])),
    Part("request, 16 headers, another target each", lambda: _exchange([BROWSER, BROWSER_NEXT])),
    Part("request, another of 200 hosts each", _hosts),
    Part("request, 16 headers, another cookie each", _cookies),
    Part("request, access log in JSON", lambda: _logged("json", [SMALL])),
    Part("request, access log combined", lambda: _logged("combined", [SMALL])),
    Part(
        "request, access log in JSON, another target each", lambda: _logged("json", [BROWSER, BROWSER_NEXT])
    ),
    Part("request, POST of 4 KiB", lambda: _exchange([POST])),
    Part("request, response of 64 KiB in 4 reads", lambda: _exchange([SMALL], LARGE)),
    Part("request, chunked response", lambda: _exchange([SMALL], (CHUNKED_HEAD + CHUNKS,))),
    Part("request, a new connection each", _connection),
    Part("request, a new connection each, which ends with it", lambda: _connection(LAST, LastTransport)),
    Part("request, canary", _canary),
    Part("request, sticky canary", lambda: _canary(sticky=True)),
)
