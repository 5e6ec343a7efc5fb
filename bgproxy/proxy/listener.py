"""Accepting clients on sockets that the supervisor holds open."""

from __future__ import annotations

import asyncio
import socket

from bgproxy.proxy.dataplane import DataPlane
from bgproxy.proxy.downstream import Downstream


class Listener:
    """One bound socket of one listener. Closing it leaves the supervisor's copy, and its queue, alone."""

    def __init__(self, plane: DataPlane, sock: socket.socket, *, preview: bool) -> None:
        self._plane = plane
        self._socket = sock
        self._preview = preview
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Starts to accept."""
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if self._socket.family == socket.AF_UNIX else loop.create_server
        self._server = await create(self._connection, sock=self._socket)

    def close(self) -> None:
        """Stops accepting; connections that exist live on."""
        if self._server is not None:
            self._server.close()

    def _connection(self) -> Downstream:
        return Downstream(self._plane, preview=self._preview)
