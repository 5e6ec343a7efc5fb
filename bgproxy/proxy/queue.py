"""Requests that wait because every upstream of their pool has as many as it may have.

First in, first out for each pool. With another snapshot all of them choose anew, so a cutover moves the queue.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bgproxy.shared_memory.counters import QUEUED

if TYPE_CHECKING:
    from bgproxy.proxy.dataplane import DataPlane
    from bgproxy.proxy.parking import Waiting
    from bgproxy.routing.balance import LivePool
    from bgproxy.routing.split import LiveService

_Key = tuple[str, str]  # service and pool


class Queue:
    """`DataPlane.queued` is how many wait, so that nobody asks an empty queue."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._waiting: dict[_Key, deque[Waiting]] = {}

    def enter(self, exchange: Waiting, service: LiveService) -> bool:
        """False if the queue of its pool is full."""
        waiting = self._waiting.setdefault(_key(service, exchange.pool), deque())
        if len(waiting) >= service.limits.queue:
            return False
        waiting.append(exchange)
        self._changed(service, 1)
        return True

    def leave(self, exchange: Waiting) -> bool:
        """Forgets a request whose time is up, or whose client has left; False if it does not wait."""
        if not self._plane.queued or getattr(exchange, "pool", None) is None:
            return False
        waiting = self._waiting.get(_key(exchange.service, exchange.pool))
        if not waiting or exchange not in waiting:
            return False
        waiting.remove(exchange)
        self._changed(exchange.service, -1)
        return True

    def serve(self, service: LiveService, pool: LivePool) -> None:
        """An upstream of the pool has room: for as many of the first in line as there is."""
        waiting = self._waiting.get(_key(service, pool))
        while waiting and not waiting[0].pool.is_full():
            exchange = waiting.popleft()
            self._changed(exchange.service, -1)
            exchange.downstream.transport.resume_reading()
            exchange.take_turn()

    def serve_room(self) -> None:
        """Room may come without the end of a request: an ejection has ended, an upstream has warmed up."""
        for waiting in list(self._waiting.values()):
            if waiting:
                self.serve(waiting[0].service, waiting[0].pool)

    def serve_all(self) -> None:
        """There is another snapshot. Who has to wait again does so in the same order, and not for longer."""
        before, self._waiting = self._waiting, {}
        for waiting in before.values():
            for exchange in waiting:
                self._changed(exchange.service, -1)
                downstream, until = exchange.downstream, exchange.downstream.deadline
                downstream.transport.resume_reading()
                exchange.choose_anew()
                again = self._waiting.get(_key(exchange.service, exchange.pool))
                if again and again[-1] is exchange:
                    downstream.deadline = until

    # Private

    def _changed(self, service: LiveService, by: int) -> None:
        self._plane.queued += by
        service.cells[QUEUED] += by


def _key(service: LiveService, pool: LivePool) -> _Key:
    return service.view.name, pool.name
