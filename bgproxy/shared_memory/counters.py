"""What workers count, and where. A worker writes its own block only; the controller only reads and sums.

Each record belongs to one service or upstream for as long as its tag says so: a worker that meets a new
tag in a slot zeroes its record, and a reader ignores a record whose tag is not the one it asks for. So
slots are used again without a message to anybody.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bgproxy.shared_memory.layout import (
    BLOCK_HEADER_CELLS,
    BLOCKS,
    RECORD_CELLS,
    SharedMemory,
)

# Cells of a block's header.
SEEN: Final = 0  # the word this worker obeys
PID: Final = 1
STATE: Final = 2
CONNECTIONS: Final = 3  # gauge: clients connected
ACCEPTED: Final = 4
PARKED: Final = 5  # gauge: requests that a hold keeps
OVERFLOWED: Final = 6  # id of the last hold that this worker ended because a limit was reached
LOG_DROPPED: Final = 7  # lines of the access log that are lost
STARTS: Final = 8  # how many workers have used this block
USED_RECORDS: Final = 9  # none from here on has ever been used

# Values of STATE.
SERVING: Final = 1
DRAINING: Final = 2

# Cells of a record.
TAG: Final = 0
IN_FLIGHT: Final = 1  # gauge: requests and their responses
TUNNELS: Final = 2  # gauge: upgraded connections
RESPONSES: Final = 3  # six counters, see RESPONSE_CLASSES
CONNECT_FAILED: Final = 9
RESET: Final = 10
TIMED_OUT: Final = 11
INVALID: Final = 12
RETRIED: Final = 13
HELD: Final = 14
DURATION_US: Final = 15  # sum
IDLE: Final = 16  # gauge: connections in the keepalive cache
HISTOGRAM: Final = 17
# Of an upstream's record, behind the histogram: what the worker's own requests made of it.
EJECTIONS: Final = 58
EJECTED: Final = 59  # gauge: 1 while this worker sends it nothing
# Of a service's record, behind the histogram: what a hold keeps of this service.
PARKED_REQUESTS: Final = 60  # gauge
PARKED_SIZE: Final = 61  # gauge, bytes
QUEUED: Final = 62  # gauge: requests that wait until an upstream has room

_UNDER_WAY: Final = (IN_FLIGHT, TUNNELS, IDLE, PARKED_REQUESTS, PARKED_SIZE, QUEUED)
_GAUGES: Final = (*_UNDER_WAY, EJECTED)
_SUMS: Final = (
    *("in_flight", "tunnels", "idle", "ejected", "queued"),
    *("connect_failed", "reset", "timed_out", "invalid", "retried", "held", "duration_us", "ejections"),
)

# By the hundreds of a status; none: the client left.
RESPONSE_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

# Upper bounds (inclusive) of the latency buckets in microseconds, about 1.4 apart; the last has no bound.
LATENCY_BOUNDS_US: Final[tuple[int, ...]] = (
    *(200, 300, 400, 600, 800),
    *(1_000, 1_400, 2_000, 3_000, 4_000, 6_000, 8_000),
    *(10_000, 14_000, 20_000, 30_000, 40_000, 60_000, 80_000),
    *(100_000, 140_000, 200_000, 300_000, 400_000, 600_000, 800_000),
    *(1_000_000, 1_400_000, 2_000_000, 3_000_000, 4_000_000, 6_000_000, 8_000_000),
    *(10_000_000, 20_000_000, 30_000_000, 60_000_000),
)
LATENCY_BUCKETS: Final = len(LATENCY_BOUNDS_US) + 1

# Records below this belong to no service; the first one counts requests that no route fits.
UNROUTED_SLOT: Final = 0
UNROUTED_TAG: Final = 1
FIRST_SLOT: Final = 1


def bucket_of(duration_us: int) -> int:
    """The index of a duration's latency bucket."""
    return bisect_left(LATENCY_BOUNDS_US, duration_us)


def count_ejection(record: memoryview[int], *, ejected: bool) -> None:
    """An upstream was ejected by this worker, or is back."""
    record[EJECTED] = ejected
    record[EJECTIONS] += ejected


class WorkerBlock:
    """A worker's own block. Gauges begin at zero with the worker; counters go on where the last one stopped."""

    def __init__(self, memory: SharedMemory, index: int) -> None:
        self.index = index
        self.cells = memory.block(index)
        for cell in (SEEN, CONNECTIONS, PARKED):
            self.cells[cell] = 0
        # Only these: even to look at a page of the sparse memory allocates it.
        for slot in range(self.cells[USED_RECORDS]):
            start = BLOCK_HEADER_CELLS + slot * RECORD_CELLS
            for gauge in _GAUGES:
                self.cells[start + gauge] = 0
        self.cells[STARTS] += 1
        self.cells[STATE] = SERVING
        self.cells[PID] = os.getpid()

    def record(self, slot: int, tag: int) -> memoryview[int]:
        """The record of a service or upstream, zeroed if somebody else had the slot before."""
        start = BLOCK_HEADER_CELLS + slot * RECORD_CELLS
        record = self.cells[start : start + RECORD_CELLS]
        if record[TAG] != tag:
            self.cells[USED_RECORDS] = max(self.cells[USED_RECORDS], slot + 1)
            for cell in range(RECORD_CELLS):
                record[cell] = 0
            record[TAG] = tag
        return record


def vacate(memory: SharedMemory, block: int) -> None:
    """Says that the block's worker is gone, before its process id can be somebody else's."""
    memory.block(block)[PID] = 0


@dataclass(slots=True)
class Totals:
    """One record, summed over all workers that there are or were."""

    in_flight: int = 0
    tunnels: int = 0
    idle: int = 0
    responses: list[int] = field(default_factory=lambda: [0] * 6)
    connect_failed: int = 0
    reset: int = 0
    timed_out: int = 0
    invalid: int = 0
    retried: int = 0
    held: int = 0
    duration_us: int = 0
    ejections: int = 0
    ejected: int = 0  # by how many workers
    queued: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * LATENCY_BUCKETS)

    def add(self, record: memoryview[int], *, alive: bool) -> None:
        if alive:
            self.in_flight += record[IN_FLIGHT]
            self.tunnels += record[TUNNELS]
            self.idle += record[IDLE]
            self.ejected += record[EJECTED]
            self.queued += record[QUEUED]
        for index in range(6):
            self.responses[index] += record[RESPONSES + index]
        self.connect_failed += record[CONNECT_FAILED]
        self.reset += record[RESET]
        self.timed_out += record[TIMED_OUT]
        self.invalid += record[INVALID]
        self.retried += record[RETRIED]
        self.held += record[HELD]
        self.duration_us += record[DURATION_US]
        self.ejections += record[EJECTIONS]
        for index in range(LATENCY_BUCKETS):
            self.latency[index] += record[HISTOGRAM + index]

    def merge(self, other: Totals) -> None:
        """Adds another record's sums, for the totals of a pool."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.responses = [mine + its for mine, its in zip(self.responses, other.responses, strict=True)]
        self.latency = [mine + its for mine, its in zip(self.latency, other.latency, strict=True)]

    @property
    def requests(self) -> int:
        return sum(self.responses)


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What a worker says of itself. `seen` is the word that it obeys."""

    block: int
    pid: int
    draining: bool
    seen: int
    connections: int
    accepted: int
    parked: int
    overflowed: int
    starts: int


class CounterReader:
    """The controller's side: sums of records, and the workers that are alive."""

    def __init__(self, memory: SharedMemory) -> None:
        self._blocks = [memory.block(index) for index in range(BLOCKS)]

    def workers(self) -> list[WorkerView]:
        """The living workers."""
        return [self._view(index) for index, block in self._used() if is_alive(block[PID])]

    def accepted(self) -> int:
        return sum(block[ACCEPTED] for _, block in self._used())

    def log_dropped(self) -> int:
        return sum(block[LOG_DROPPED] for _, block in self._used())

    def totals(self, slot: int, tag: int) -> Totals:
        totals = Totals()
        start = BLOCK_HEADER_CELLS + slot * RECORD_CELLS
        for _, block in self._used():
            if block[start + TAG] == tag:
                totals.add(block[start : start + RECORD_CELLS], alive=is_alive(block[PID]))
        return totals

    def gauge(self, cell: int, slot: int, tag: int) -> int:
        """One gauge of a record over the living workers; cheap enough to be asked in a loop."""
        start = BLOCK_HEADER_CELLS + slot * RECORD_CELLS
        return sum(
            block[start + cell]
            for _, block in self._used()
            if block[start + TAG] == tag and is_alive(block[PID])
        )

    def under_way(self, places: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
        """Requests in flight, tunnels and idle connections of many records (slot, tag) over the living workers.

        In one pass over each block: it is asked at every news of a drain, for pools of a thousand upstreams.
        """
        in_flight = tunnels = idle = 0
        for _, block in self._used():
            if not is_alive(block[PID]):
                continue
            for slot, tag in places:
                start = BLOCK_HEADER_CELLS + slot * RECORD_CELLS
                if block[start + TAG] == tag:
                    in_flight += block[start + IN_FLIGHT]
                    tunnels += block[start + TUNNELS]
                    idle += block[start + IDLE]
        return in_flight, tunnels, idle

    def is_quiet(self, slot: int) -> bool:
        """True if no living worker has anything under way in the record of `slot`."""
        start = BLOCK_HEADER_CELLS + slot * RECORD_CELLS
        return not any(
            block[start + cell] for _, block in self._used() if is_alive(block[PID]) for cell in _UNDER_WAY
        )

    # Private

    def _used(self) -> Iterator[tuple[int, memoryview[int]]]:
        return ((index, block) for index, block in enumerate(self._blocks) if block[STARTS])

    def _view(self, index: int) -> WorkerView:
        block = self._blocks[index]
        return WorkerView(
            block=index,
            pid=block[PID],
            draining=block[STATE] == DRAINING,
            seen=block[SEEN],
            connections=block[CONNECTIONS],
            accepted=block[ACCEPTED],
            parked=block[PARKED],
            overflowed=block[OVERFLOWED],
            starts=block[STARTS],
        )


def is_alive(pid: int) -> bool:
    """Whether the process exists. A worker that has died is reaped by the supervisor at once."""
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
