"""The proxy's side of a connection with TLS, for a protocol that hears of nothing but what it carries."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from bgproxy.proxy.secured import Secured


class Door(asyncio.Protocol):
    """Shakes hands as a server, or as a client with the server of that `name`; its protocol comes afterwards."""

    def __init__(
        self, context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol], name: str | None = None
    ) -> None:
        self._context = context
        self._protocol = protocol
        self._name = name
        self.refusals: list[tuple[str, bool]] = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.plain = cast("asyncio.Transport", transport)
        loop, server_side = asyncio.get_running_loop(), self._name is None
        Secured(
            loop, self.plain, self._context, self, server_side=server_side, server_hostname=self._name
        ).begin()

    def secured(self, transport: Secured) -> None:
        protocol = self._protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(cast("asyncio.Transport", transport))

    def refused(self, error: ssl.SSLError, *, told: bool) -> None:
        self.refusals.append((error.reason, told))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)
