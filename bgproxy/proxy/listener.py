"""Accepting clients on sockets that the supervisor holds open."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, Final

from bgproxy import model
from bgproxy.proxy.dataplane import DataPlane
from bgproxy.proxy.downstream import Downstream

# Since Python 3.13 closing a server removes its socket's file, which is not ours to remove.
_KEEP_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class Listener:
    """One bound socket of one listener. Closing it leaves the supervisor's copy, and its queue, alone."""

    def __init__(self, plane: DataPlane, sock: socket.socket, settings: model.Listener) -> None:
        self._plane = plane
        self._socket = sock
        self._settings = settings
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Starts to accept."""
        loop = asyncio.get_running_loop()
        if self._socket.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(self._connection, sock=self._socket, **_KEEP_FILE)
        else:
            self._server = await loop.create_server(self._connection, sock=self._socket)

    def close(self) -> None:
        """Stops accepting; connections that exist live on."""
        if self._server is not None:
            self._server.close()

    def _connection(self) -> Downstream:
        return Downstream(self._plane, preview=self._settings.preview)
