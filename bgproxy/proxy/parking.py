"""Requests that a hold keeps until the cutover is done: in the order of arrival, bounded, never refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from bgproxy.shared_memory.counters import (
    HELD,
    OVERFLOWED,
    PARKED,
    PARKED_REQUESTS,
    PARKED_SIZE,
    WorkerBlock,
)

if TYPE_CHECKING:
    from bgproxy.proxy.dataplane import Connected, DataPlane
    from bgproxy.routing.balance import LivePool
    from bgproxy.routing.split import LiveService

logger = logging.getLogger("bgproxy.worker")


class Waiting(Protocol):
    """What a hold or a queue keeps: the exchange of a request, or the whole connection of a TCP listener."""

    service: LiveService
    pool: LivePool

    @property
    def downstream(self) -> Connected: ...
    def parked_bytes(self) -> int: ...
    def choose_anew(self) -> None: ...
    def take_turn(self) -> None: ...


class Parking:
    """A hold that has ended for this worker does not begin again."""

    def __init__(self, plane: DataPlane, block: WorkerBlock) -> None:
        self._plane = plane
        self._cells = block.cells
        self._parked: dict[Waiting, tuple[LiveService, int]] = {}  # with its bytes, in the order of arrival
        self._ended: set[int] = set()

    def park(self, exchange: Waiting, service: LiveService) -> bool:
        """Keeps a request for as long as its service is held; False if the hold is over for this worker."""
        hold = service.hold
        if hold is None or hold.id in self._ended:
            return False
        size = exchange.parked_bytes()
        cells = service.cells
        if cells[PARKED_REQUESTS] >= hold.max_requests or cells[PARKED_SIZE] + size > hold.max_bytes:
            logger.warning("hold %d of %s ended: its limit is reached", hold.id, service.view.name)
            self._cells[OVERFLOWED] = hold.id
            self._ended.add(hold.id)
            self.release()
            self._plane.notify()
            return False
        self._parked[exchange] = (service, size)
        cells[PARKED_REQUESTS] += 1
        cells[PARKED_SIZE] += size
        cells[HELD] += 1
        self._cells[PARKED] = len(self._parked)
        return True

    def leave(self, exchange: Waiting) -> bool:
        """Forgets a request, because it goes on or because its client has left; True if it was parked."""
        parked = self._parked.pop(exchange, None)
        if parked is None:
            return False
        service, size = parked
        service.cells[PARKED_REQUESTS] -= 1
        service.cells[PARKED_SIZE] -= size
        self._cells[PARKED] = len(self._parked)
        return True

    def release(self) -> None:
        """Sends on, in the order of arrival, what no hold keeps any more."""
        for exchange, (parked_in, _) in list(self._parked.items()):
            if exchange not in self._parked:
                continue  # one that went on before found a newer snapshot, and released this one with it
            service = self._plane.table.services.get(parked_in.view.name)
            if service is not None and service.hold is not None and service.hold.id not in self._ended:
                continue
            self.leave(exchange)
            exchange.downstream.transport.resume_reading()
            exchange.choose_anew()

    def forget_ended(self, holds: set[int]) -> None:
        """`holds` are all that there are now."""
        self._ended &= holds

    def end_all(self) -> None:
        """There will be no other time for what a hold keeps."""
        services = self._plane.table.services.values()
        self._ended |= {each.hold.id for each in services if each.hold is not None}
        self.release()

    def end_overdue(self, wall: float) -> None:
        """The deadlines that the controller set, kept here too, in case there is no controller then."""
        for service in self._plane.table.services.values():
            hold = service.hold
            if hold is not None and hold.until < wall and hold.id not in self._ended:
                self._ended.add(hold.id)
                self.release()
