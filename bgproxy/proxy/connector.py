"""Opening connections to upstreams: TCP or a unix socket, a PROXY header, TLS. One attempt for one user."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Final, cast

from bgproxy.model import Protocol
from bgproxy.proxy import limits, proxy_protocol
from bgproxy.proxy.secured import Secured
from bgproxy.proxy.upstream import UpstreamConnection
from bgproxy.tls.client import HTTP_ALPN, ClientContexts, server_name

if TYPE_CHECKING:
    from bgproxy.proxy.client import ClientConnection
    from bgproxy.proxy.upstream import UpstreamUser
    from bgproxy.routing.balance import LiveUpstream
    from bgproxy.routing.split import LiveService

logger = logging.getLogger("bgproxy.worker")

_UNIX: Final = "unix:"
# The exchange's own deadline comes first; this one is for what nobody waits for any more.
HANDSHAKE_GRACE_S: Final = 1.0


class Connector:
    """`connect` reports to its user, which hears of success or failure once, or of nothing if it gave up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.contexts = ClientContexts()
        self._look_at = 0.0
        self._attempts: dict[UpstreamUser, tuple[asyncio.Task[None], UpstreamConnection]] = {}

    def connect(
        self,
        upstream: LiveUpstream,
        user: UpstreamUser,
        service: LiveService,
        client: ClientConnection,
    ) -> None:
        connection = UpstreamConnection(upstream, user, self._loop.time())
        attempt = self._connect(connection, user, service, client)
        self._attempts[user] = (self._loop.create_task(attempt), connection)

    def give_up(self, user: UpstreamUser) -> None:
        """The user does not want its connection any more."""
        attempt = self._attempts.pop(user, None)
        if attempt is not None:
            task, connection = attempt
            connection.user = None
            task.cancel()

    def look(self, now: float) -> None:
        """Reads certificates again that have changed; every second or so."""
        if now >= self._look_at:
            self._look_at = now + limits.CERTIFICATES_S
            for path in self.contexts.reload_changed():
                logger.info("upstream TLS: read again: %s", path)

    # Private

    async def _connect(
        self,
        connection: UpstreamConnection,
        user: UpstreamUser,
        service: LiveService,
        client: ClientConnection,
    ) -> None:
        try:
            if service.is_plain_upstream:
                await self._open(connection.upstream.address, cast("asyncio.Protocol", connection))
            else:
                await self._open_secured(connection, service, client)
        except (OSError, ValueError):  # the second: a name that is none
            if self._is_over(user, connection):
                user.connect_failed()
        else:
            self._is_over(user, connection)

    async def _open(self, address: str, protocol: asyncio.Protocol) -> asyncio.Transport:
        if address.startswith(_UNIX):
            transport, _ = await self._loop.create_unix_connection(lambda: protocol, address[len(_UNIX) :])
        else:
            host, _, port = address.rpartition(":")
            transport, _ = await self._loop.create_connection(lambda: protocol, host.strip("[]"), int(port))
        return transport

    async def _open_secured(
        self, connection: UpstreamConnection, service: LiveService, client: ClientConnection
    ) -> None:
        """What the upstream wants before the first byte of all: to be told the client, and TLS."""
        policy, upstream = service.view.policy, connection.upstream
        alpn = HTTP_ALPN if service.view.protocol is Protocol.HTTP else _agreed_with(client.transport)
        greeting = _Greeting(self._loop)
        transport = await self._open(upstream.address, greeting)
        try:
            _still_open(transport)
            if policy.send_proxy:
                transport.write(proxy_protocol.build(policy.send_proxy, *client.addresses()))
            if policy.upstream_tls is not None:
                context = self.contexts.context(policy.upstream_tls, alpn)
                name = server_name(policy.upstream_tls, upstream.name)
                secured = Secured(self._loop, transport, context, greeting, server_hostname=name or None)
                secured.begin()
                transport = cast("asyncio.Transport", secured)
                async with asyncio.timeout(policy.timeouts.connect_s + HANDSHAKE_GRACE_S):
                    await greeting.shakes_hands()
            if service.view.protocol is Protocol.HTTP:
                greeting.require_silence()
            greeting.hand_over(_still_open(transport), connection)
        except BaseException:
            transport.abort()
            raise

    def _is_over(self, user: UpstreamUser, connection: UpstreamConnection) -> bool:
        """Forgets an attempt that has ended; False if its user has given it up, or is at another one."""
        attempt = self._attempts.get(user)
        if attempt is None or attempt[1] is not connection:
            return False
        del self._attempts[user]
        return True


class _Greeting(asyncio.Protocol):
    """Holds a connection until it is what its user wants. An upstream may be the first to speak."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._heard = b""
        self._ended = False
        self._handshake: asyncio.Future[Exception | None] = loop.create_future()

    async def shakes_hands(self) -> None:
        error = await self._handshake
        if error is not None:
            raise error

    def secured(self, transport: Secured) -> None:
        transport.set_protocol(self)
        self._ends(None)

    def refused(self, error: ssl.SSLError, *, told: bool) -> None:  # noqa: ARG002 - it hears of it or not
        self._ends(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ends(exc or ConnectionResetError("the upstream left"))

    def data_received(self, data: bytes) -> None:
        self._heard += data

    def eof_received(self) -> bool:
        self._ended = True
        return True

    def require_silence(self) -> None:
        """What an HTTP upstream says before it was asked would be taken for its answer."""
        if self._heard:
            raise ConnectionResetError("the upstream spoke before it was asked")

    def hand_over(self, transport: asyncio.Transport, connection: UpstreamConnection) -> None:
        transport.set_protocol(cast("asyncio.Protocol", connection))
        connection.connection_made(transport)
        heard, self._heard = self._heard, b""
        if heard:
            connection.data_received(heard)
        if self._ended and not connection.eof_received():
            transport.close()

    # Private

    def _ends(self, error: Exception | None) -> None:
        if not self._handshake.done():
            self._handshake.set_result(error)


def _agreed_with(transport: asyncio.Transport) -> tuple[str, ...]:
    """The protocol that a client with TLS expects at the other end; none if it has named none, or has no TLS."""
    secured = transport.get_extra_info("ssl_object")
    agreed = None if secured is None else secured.selected_alpn_protocol()
    return () if agreed is None else (agreed,)


def _still_open(transport: asyncio.Transport) -> asyncio.Transport:
    if transport.is_closing():
        raise ConnectionResetError("the upstream left before it could be asked")
    return transport
