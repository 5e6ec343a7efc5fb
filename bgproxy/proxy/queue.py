"""Requests that wait because every upstream of their pool has as many as it may have.

First in, first out for each service. Whoever gets room chooses anew, so a cutover moves the queue with it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bgproxy.shared_memory.counters import QUEUED

if TYPE_CHECKING:
    from bgproxy.proxy.dataplane import DataPlane
    from bgproxy.proxy.parking import Waiting
    from bgproxy.routing.split import LiveService


class Queue:
    """`DataPlane.queued` is how many wait, so that nobody asks an empty queue."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._waiting: dict[str, deque[Waiting]] = {}

    def enter(self, exchange: Waiting, service: LiveService) -> bool:
        """False if the queue is full."""
        waiting = self._waiting.setdefault(service.view.name, deque())
        if len(waiting) >= service.limits.queue:
            return False
        waiting.append(exchange)
        self._changed(service, 1)
        return True

    def leave(self, exchange: Waiting) -> bool:
        """Forgets a request whose time is up, or whose client has left; False if it does not wait."""
        if not self._plane.queued:
            return False
        service = getattr(exchange, "service", None)
        waiting = None if service is None else self._waiting.get(service.view.name)
        if service is None or not waiting or exchange not in waiting:
            return False
        waiting.remove(exchange)
        self._changed(service, -1)
        return True

    def serve(self, service: LiveService) -> None:
        """An upstream of the service has room, or there is another snapshot: the first in line choose again."""
        waiting = self._waiting.get(service.view.name)
        for _ in range(len(waiting or ())):
            if not waiting or not self._has_room(service):
                return
            exchange = waiting.popleft()
            self._changed(exchange.service, -1)
            downstream, until = exchange.downstream, exchange.downstream.deadline
            downstream.transport.resume_reading()
            exchange.choose()
            if waiting and waiting[-1] is exchange:
                downstream.deadline = until  # it waits again, for another pool, but not anew

    def serve_all(self) -> None:
        """After a new snapshot."""
        for name in list(self._waiting):
            service = self._plane.table.services.get(name)
            waiting = self._waiting[name]
            if service is not None:
                self.serve(service)
            else:
                while waiting:
                    exchange = waiting.popleft()
                    self._changed(exchange.service, -1)
                    exchange.choose()
            if not waiting:
                del self._waiting[name]

    # Private

    def _has_room(self, service: LiveService) -> bool:
        current = self._plane.table.services.get(service.view.name, service)
        pool = current.active
        return not pool.is_full() or not current.idle.is_full()

    def _changed(self, service: LiveService, by: int) -> None:
        self._plane.queued += by
        service.cells[QUEUED] += by
