"""The keepalive cache: connections to an upstream that wait for the next request, last in, first out.

A connection comes here only after a complete, unambiguous exchange. The upstream may close it at any
moment; what it closed before is never handed out, and for a request that must not be sent twice the
socket is asked once more.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from bgproxy.proxy import limits
from bgproxy.shared_memory.counters import IDLE

if TYPE_CHECKING:
    from bgproxy.model import Keepalive
    from bgproxy.proxy.upstream import UpstreamConnection
    from bgproxy.routing.balance import LiveUpstream


def take(upstream: LiveUpstream, now: float, *, replayable: bool) -> UpstreamConnection | None:
    """The connection used last, if there is one that is still open."""
    idle: list[UpstreamConnection] = upstream.idle
    while idle:
        connection = idle.pop()
        if connection.idle_until > now and (replayable or not connection.has_news()):
            return connection
        connection.close()
    return None


def put(connection: UpstreamConnection, now: float, settings: Keepalive, hint_s: int | None) -> None:
    """Keeps a connection whose exchange is complete, or closes it if there are enough or it is too old.

    `hint_s` is for how long its last response said that the upstream keeps it.
    """
    upstream = connection.upstream
    idle: list[UpstreamConnection] = upstream.idle
    until = now + settings.idle_s
    if hint_s is not None or settings.age_s != inf:
        until = _shorter(until, connection, now, settings, hint_s)
    if upstream.retired or connection.paused or len(idle) >= settings.connections or until <= now:
        connection.close()
    else:
        connection.idle_until = until
        idle.append(connection)


def forget(connection: UpstreamConnection) -> None:
    """Removes a connection that the upstream closed, if it is here."""
    idle: list[UpstreamConnection] = connection.upstream.idle
    if connection in idle:
        idle.remove(connection)
        connection.upstream.cells[IDLE] = len(idle)


def close_idle(upstream: LiveUpstream, now: float | None = None) -> None:
    """Closes the connections whose time is up, or all of them."""
    idle: list[UpstreamConnection] = upstream.idle
    kept: list[UpstreamConnection] = []
    for connection in idle:
        if now is not None and connection.idle_until > now:
            kept.append(connection)
        else:
            connection.close()
    upstream.idle = kept
    upstream.cells[IDLE] = len(kept)


# Private


def _shorter(
    until: float, connection: UpstreamConnection, now: float, settings: Keepalive, hint_s: int | None
) -> float:
    """With the upstream's own word (Keep-Alive: timeout) and the limit of age.

    A connection is left a second before the upstream leaves it, so that no request meets its end; one that
    the upstream keeps for no longer than that is not kept at all.
    """
    if hint_s is not None:
        until = min(until, now + hint_s - limits.KEEP_ALIVE_MARGIN_S)
    return min(until, connection.opened + settings.age_s)
