"""One connection to an upstream: bytes to and from the exchange that has it. No parsing, no policy."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Protocol, cast

from bgproxy.proxy import keepalive
from bgproxy.proxy.portions import PORTION_BYTES, read_in_portions

if TYPE_CHECKING:
    from bgproxy.routing.balance import LiveUpstream


class UpstreamUser(Protocol):
    """What an upstream connection tells whoever uses it: an exchange, or the tunnel that it became."""

    def upstream_connected(self, connection: UpstreamConnection) -> None: ...
    def connect_failed(self) -> None: ...
    def upstream_data(self, data: bytes) -> None: ...
    def upstream_eof(self) -> None: ...
    def upstream_gone(self, error: Exception | None) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...


class UpstreamConnection:
    """An `asyncio.Protocol` but for the base, which nothing that is compiled may have.

    `user` is None while the connection is idle in the keepalive cache.
    """

    __slots__ = ("_poll", "idle_until", "opened", "paused", "reused", "transport", "upstream", "user")

    transport: asyncio.Transport

    def __init__(self, upstream: LiveUpstream, user: UpstreamUser, now: float) -> None:
        self.upstream = upstream
        self.user: UpstreamUser | None = user
        self.opened = now
        self.paused = False  # it is not read, because a client does not read
        self.reused = False
        self.idle_until = 0.0
        self._poll: select.poll | None = None

    def close(self) -> None:
        """Gives the connection up: nothing of it is of use to anybody any more."""
        self.user = None
        self.transport.abort()

    def has_news(self) -> bool:
        """True if the idle socket has an end-of-file or bytes to read, which the loop has not seen yet."""
        if self._poll is None:
            sock = self.transport.get_extra_info("socket")
            if sock is None:  # it has just gone, below TLS
                return True
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.user is None:
            self.transport.abort()
        else:
            self.user.upstream_connected(self)

    def data_received(self, data: bytes) -> None:
        user = self.user
        if user is None:
            # Bytes that answer no request: they must never reach the next client.
            keepalive.forget(self)
            self.transport.abort()
        else:
            if len(data) > PORTION_BYTES:
                read_in_portions(self.transport, self)
            user.upstream_data(data)

    def eof_received(self) -> bool:
        user = self.user
        if user is None:
            keepalive.forget(self)
            return False
        user.upstream_eof()
        return self.user is not None

    def connection_lost(self, exc: Exception | None) -> None:
        user = self.user
        if user is None:
            keepalive.forget(self)
        else:
            self.user = None
            user.upstream_gone(exc)

    def pause_writing(self) -> None:
        if self.user is not None:
            self.user.upstream_full()

    def resume_writing(self) -> None:
        if self.user is not None:
            self.user.upstream_drained()
