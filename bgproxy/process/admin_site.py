"""The admin listener: the admin API on the supervisor's socket, over TLS if configured.

Accepts anew when its certificates or their settings change; connections that exist are left alone. Bounds how many
there are, because nobody who has not said a word yet can be told from who never will.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
import weakref
from typing import Final, cast

from aiohttp import web

from bgproxy.model import ListenerTls
from bgproxy.tls.server import ServerContexts

logger = logging.getLogger("bgproxy.controller")

RELOAD_S: Final = 1.0
# At once. The descriptors that are left are for the checks of upstreams, which nobody may disturb from here.
CONNECTIONS: Final = 512
FULL_SAID_S: Final = 10.0
HANDSHAKE_S: Final = 10.0


class AdminSite:
    """`sock` stays open, and its queue with it: a site closes its own copy only."""

    def __init__(self, runner: web.AppRunner, sock: socket.socket) -> None:
        self._runner = runner
        self._socket = sock
        self._server: asyncio.Server | None = None
        self._silent_until = 0.0
        self._settings: ListenerTls | None = None
        self._contexts: ServerContexts | None = None
        self._context: ssl.SSLContext | None = None
        self._doors: weakref.WeakSet[_Door] = weakref.WeakSet()

    async def follow(self, settings: ListenerTls | None) -> None:
        """Accepts as `settings` say from now on. Raises `Unusable`, and goes on as before, if a file is broken."""
        if self._server is None or settings != self._settings:
            contexts = None if settings is None else ServerContexts(settings)
            self._settings, self._contexts = settings, contexts
            await self._open()

    async def watch(self) -> None:
        """Looks at the files for ever."""
        while True:
            await asyncio.sleep(RELOAD_S)
            if self._contexts is not None:
                changed = self._contexts.reload_changed()
                if changed:
                    logger.info("the admin listener has read again: %s", ", ".join(changed))
                if self._contexts.context is not self._context:
                    await self._open()

    def close(self) -> None:
        """Accepts nobody any more; connections that exist are the runner's."""
        if self._server is not None:
            self._server.close()

    # Private

    async def _open(self) -> None:
        before = self._server
        self._context = None if self._contexts is None else self._contexts.context
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=self._socket.dup(),
            ssl=self._context,
            ssl_handshake_timeout=None if self._context is None else HANDSHAKE_S,
        )
        if before is not None:
            before.close()

    def _protocol(self) -> asyncio.Protocol:
        """For a connection that has come: aiohttp's, or none if there are too many."""
        server = self._runner.server
        assert server is not None  # noqa: S101 - it is set up before there is a site
        if len(server.connections) + len(self._doors) >= CONNECTIONS:
            self._say_full()
            return _TurnedAway()
        if self._context is None:
            return server()
        door = _Door(server)
        self._doors.add(door)
        return door

    def _say_full(self) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + FULL_SAID_S
            logger.warning("the admin listener turns connections away: it has %d", CONNECTIONS)


class _Door(asyncio.Protocol):
    """Stands for a connection while its handshake lasts: aiohttp hears of it afterwards, and of a failed one never."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = self._server()
        transport.set_protocol(connection)
        connection.connection_made(transport)


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()
