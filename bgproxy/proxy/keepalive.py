"""The keepalive cache: connections to an upstream that wait for the next request, last in, first out.

A connection comes here only after a complete, unambiguous exchange. The upstream may close it at any
moment; what it closed before is never handed out, and for a request that must not be sent twice the
socket is asked once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bgproxy.proxy import limits
from bgproxy.shared_memory.counters import IDLE

if TYPE_CHECKING:
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LiveUpstream


def take(upstream: LiveUpstream, *, replayable: bool) -> UpstreamConnection | None:
    """The connection used last, if there is one that is still open."""
    idle: list[UpstreamConnection] = upstream.idle
    while idle:
        connection = idle.pop()
        upstream.cells[IDLE] = len(idle)
        if replayable or not connection.has_news():
            return connection
        connection.close()
    return None


def put(connection: UpstreamConnection, now: float) -> None:
    """Keeps a connection whose exchange is complete, or closes it if there are enough."""
    upstream = connection.upstream
    idle: list[UpstreamConnection] = upstream.idle
    if upstream.retired or len(idle) >= limits.IDLE_CONNECTIONS:
        connection.close()
        return
    connection.idle_since = now
    idle.append(connection)
    upstream.cells[IDLE] = len(idle)


def forget(connection: UpstreamConnection) -> None:
    """Removes a connection that the upstream closed, if it is here."""
    idle: list[UpstreamConnection] = connection.upstream.idle
    if connection in idle:
        idle.remove(connection)
        connection.upstream.cells[IDLE] = len(idle)


def close_idle(upstream: LiveUpstream, older_than: float | None = None) -> None:
    """Closes the connections that have been idle since before `older_than`, or all of them."""
    idle: list[UpstreamConnection] = upstream.idle
    kept: list[UpstreamConnection] = []
    for connection in idle:
        if older_than is not None and connection.idle_since >= older_than:
            kept.append(connection)
        else:
            connection.close()
    upstream.idle = kept
    upstream.cells[IDLE] = len(kept)
