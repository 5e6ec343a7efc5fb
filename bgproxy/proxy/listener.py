"""Accepting clients on sockets that the supervisor holds open.

Owns what a listener's connections have in common. What each of them goes through before its first request,
if there is anything, is the preamble's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from bgproxy import model
from bgproxy.proxy.client import ClientConnection
from bgproxy.proxy.dataplane import DataPlane
from bgproxy.proxy.downstream import Downstream
from bgproxy.proxy.limits import BACKLOG
from bgproxy.proxy.origin import Origin
from bgproxy.proxy.preamble import Entrance, Preamble
from bgproxy.proxy.stream import StreamDownstream
from bgproxy.shared_memory.clients import Clients, Limit, Ticket
from bgproxy.tls.server import ServerContexts

logger = logging.getLogger("bgproxy.worker")

# Since Python 3.13 closing a server removes its socket's file, which is not ours to remove.
_KEEP_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
# How often the files of certificates are looked at.
RELOAD_S: Final = 1.0


class Listener:
    """One bound socket of one listener. Closing it leaves the supervisor's copy, and its queue, alone."""

    def __init__(self, plane: DataPlane, sock: socket.socket, settings: model.Listener) -> None:
        self._plane = plane
        self._socket = sock
        self._origin = Origin.of(settings, _port_of(sock))
        self._kind = StreamDownstream if settings.protocol is model.Protocol.TCP else Downstream
        self._server: asyncio.Server | None = None
        self._contexts = None if settings.tls is None else ServerContexts(settings.tls)
        self._reloader: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Starts to accept."""
        loop = asyncio.get_running_loop()
        connection = self._connection()
        if self._socket.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                connection, sock=self._socket, backlog=BACKLOG, **_KEEP_FILE
            )
        else:
            self._server = await loop.create_server(connection, sock=self._socket, backlog=BACKLOG)
        if self._contexts is not None:
            self._reloader = loop.call_later(RELOAD_S, self._reload, self._contexts)

    def close(self) -> None:
        """Stops accepting; connections that exist live on."""
        if self._server is not None:
            self._server.close()
        if self._reloader is not None:
            self._reloader.cancel()

    # Private

    def _connection(self) -> Callable[[], asyncio.Protocol]:
        """What makes the first protocol of a connection."""
        plane, origin = self._plane, self._origin
        settings = origin.settings
        limit = _limit_of(plane, settings)
        if limit is None and self._contexts is None and not settings.proxy_protocol:
            return cast("Callable[[], asyncio.Protocol]", partial(self._kind, plane, origin))
        entrance = Entrance(plane, origin, self._accept, limit, self._contexts)
        return partial(Preamble, entrance)

    def _accept(self, ticket: Ticket | None) -> ClientConnection:
        client = self._kind(self._plane, self._origin)
        client.ticket = ticket
        return client

    def _reload(self, contexts: ServerContexts) -> None:
        self._reloader = self._plane.loop.call_later(RELOAD_S, self._reload, contexts)
        changed = contexts.reload_changed()
        if changed:
            logger.info("listener %s: read again: %s", self._origin.settings.name, ", ".join(changed))


def _limit_of(plane: DataPlane, settings: model.Listener) -> Limit | None:
    if settings.connections is None and settings.connections_per_client is None:
        return None
    clients = Clients(plane.memory, plane.block.index)
    return clients.limit(settings.name, settings.connections, settings.connections_per_client)


def _port_of(sock: socket.socket) -> int:
    return 0 if sock.family == socket.AF_UNIX else int(sock.getsockname()[1])
