"""How many connections a listener and each of its clients have, over all workers, exactly and without a lock.

Every worker has two tables in its block, which it alone writes: one for listeners, one for clients. A cell
is a key and a count in one word, so that whoever reads it sees both as they belong together. A worker counts
a connection before it looks at what the others have counted: of two that take the last place at the same
time, at least one sees the other. Both may be refused then; never are both let in.

Whoever has no limits makes no `Clients`, and touches none of the tables' pages.
"""

from __future__ import annotations

import hashlib
import logging
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

from bgproxy.shared_memory.counters import PID, STARTS, is_alive
from bgproxy.shared_memory.layout import (
    BLOCKS,
    CLIENT_CELLS,
    CLIENTS_CELL,
    COUNTING_CELL,
    SALT_CELL,
    SharedMemory,
)

logger = logging.getLogger("bgproxy.worker")

# Cells of a block's header, behind those of `counters`: the table of listeners.
LISTENERS: Final = 256
LISTENER_CELLS: Final = 256

# A key lies in one of so many cells behind its place.
WINDOW_CELLS: Final = 16
COUNT_BITS: Final = 24

_LISTENERS: Final = range(LISTENERS, LISTENERS + LISTENER_CELLS)
_CLIENTS: Final = range(CLIENTS_CELL, CLIENTS_CELL + CLIENT_CELLS)
_COUNT: Final = (1 << COUNT_BITS) - 1
_MAPPED: Final = bytes(10) + b"\xff\xff"  # an IPv4 address as an IPv6 one (RFC 4291 section 2.5.5.2)
_IPV6_NETWORK_BYTES: Final = 8  # a /64 is what one client has


class Clients:
    """One worker's tables, and what it needs to read those of the others. It may have several `Clients`."""

    def __init__(self, memory: SharedMemory, block: int) -> None:
        self._memory = memory
        self._index = block
        self._mine = memory.block(block)
        # Which block's tables count: those of its worker with this number (STARTS), none of a dead one before.
        self._counting = memory.cells[COUNTING_CELL : COUNTING_CELL + BLOCKS]
        self._known = b""
        self._others: list[tuple[memoryview[int], int]] = []
        self._salt = memory.cells[SALT_CELL].to_bytes(8, "big")
        self._begin()

    def limit(self, listener: str, connections: int | None, per_client: int | None) -> Limit:
        """The limits of a listener; None: there is none."""
        return Limit(self, listener, connections, per_client)

    def hash(self, *parts: bytes) -> int:
        """Keyed, so that no client can choose addresses that share a window."""
        digest = hashlib.blake2b(b"\0".join(parts), digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest, "big")

    def enter(self, table: range, key: int, most: int) -> int | None:
        """Counts one more of `key` and returns its cell; None if there are `most` of it already.

        Raises `TableFull` if its window is full of others.
        """
        place = key & ~_COUNT or 1 << COUNT_BITS
        at = table.start + (key & _COUNT) % (len(table) - WINDOW_CELLS + 1)
        cell = self._find(at, place)
        count = (self._mine[cell] & _COUNT) + 1
        # Seen by all before the others' counts are read: no store waits for as long as that takes.
        self._mine[cell] = place | count
        if count + self._elsewhere(at, place) <= most:
            return cell
        if count + self._elsewhere(at, place, living_only=True) <= most:
            return cell
        self.leave(cell)
        return None

    def leave(self, cell: int) -> None:
        """Counts one less; the last one leaves the cell to others."""
        value = self._mine[cell] - 1
        self._mine[cell] = value if value & _COUNT else 0

    # Private

    def _begin(self) -> None:
        counting, starts = self._counting[self._index], self._mine[STARTS]
        if counting == starts:
            return  # this worker's other listeners have begun
        if counting:  # a predecessor in this block has left its counts
            for table in (_LISTENERS, _CLIENTS):
                self._mine[table.start : table.stop] = memoryview(bytes(len(table) * 8)).cast("Q")
        self._counting[self._index] = starts

    def _find(self, at: int, place: int) -> int:
        free = -1
        for index, value in enumerate(self._mine[at : at + WINDOW_CELLS].tolist()):
            if value & ~_COUNT == place:
                return at + index
            if not value and free < 0:
                free = at + index
        if free < 0:
            raise TableFull
        return free

    def _elsewhere(self, at: int, place: int, *, living_only: bool = False) -> int:
        """What the other workers have counted. The supervisor clears the PID of one that died, soon after."""
        counting = bytes(self._counting)
        if counting != self._known:
            self._known = counting
            starts = memoryview(counting).cast("Q").tolist()
            self._others = [
                (self._memory.block(index), number)
                for index, number in enumerate(starts)
                if number and index != self._index
            ]
        total = 0
        for block, number in self._others:
            pid = block[PID]
            if block[STARTS] == number and pid and (not living_only or is_alive(pid)):
                for value in block[at : at + WINDOW_CELLS].tolist():
                    if value & ~_COUNT == place:
                        total += value & _COUNT
        return total


class TableFull(Exception):
    """There is no room to count something."""


class Limit:
    """The limits of one listener, as its worker keeps them."""

    def __init__(
        self, clients: Clients, listener: str, connections: int | None, per_client: int | None
    ) -> None:
        self.connections = connections
        self.per_client = per_client
        self._clients = clients
        self._name = listener.encode()
        self._key = clients.hash(self._name)
        self._said = False

    def enter(self) -> Ticket | None:
        """A ticket for one more connection; None if there are too many."""
        ticket = Ticket(self._clients)
        if self.connections is None or self._count(ticket, _LISTENERS, self._key, self.connections):
            return ticket
        return None

    def enter_as(self, ticket: Ticket, client: bytes) -> bool:
        """Counts the connection for its client too, an address as text; False if that has too many.

        Whoever has no IP address (on a unix socket) is nobody in particular, and not limited.
        """
        if self.per_client is None:
            return True
        network = network_of(client)
        if network is None:
            return True
        key = self._clients.hash(self._name, network)
        return self._count(ticket, _CLIENTS, key, self.per_client)

    # Private

    def _count(self, ticket: Ticket, table: range, key: int, most: int) -> bool:
        try:
            cell = self._clients.enter(table, key, most)
        except TableFull:
            if not self._said:
                self._said = True
                logger.warning(
                    "listener %s: there is no room to count all of its clients; those that are not counted "
                    "have no limit in this worker. Use more workers",
                    self._name.decode(),
                )
            return True
        if cell is None:
            return False
        ticket.cells.append(cell)
        return True


class Ticket:
    """What one connection counts for, until it is given back."""

    __slots__ = ("_clients", "cells")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.cells: list[int] = []

    def give_back(self) -> None:
        """May be called again: nothing is given back twice."""
        while self.cells:
            self._clients.leave(self.cells.pop())


def network_of(client: bytes) -> bytes | None:
    """What counts as one client: an IPv4 address, or a /64 of IPv6; None if it is no IP address."""
    text = client.decode("latin-1").partition("%")[0]
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        packed = inet_pton(AF_INET6, text)
    except OSError:
        return None
    if packed.startswith(_MAPPED):
        return packed[len(_MAPPED) :]
    return packed[:_IPV6_NETWORK_BYTES]
