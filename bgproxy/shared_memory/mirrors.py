"""What mirrored requests have shown, from the workers to the controller. A worker writes its own mirror only.

    tallies      one per service, in the service's slot and under its tag, as its record is
    samples      a ring of latencies, both sides of one request in one cell
    differences  a ring of sealed texts, each about one request that was answered differently

Nothing here is waited for or locked, and what nobody mirrors takes no memory. What a text says is not for
this file to know.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from bgproxy.shared_memory.counters import STARTS
from bgproxy.shared_memory.layout import (
    BLOCKS,
    MIRROR_DIFFERENCE_BYTES,
    MIRROR_DIFFERENCES,
    MIRROR_SAMPLE_CELLS,
    MIRROR_SAMPLES,
    MIRROR_TALLY_CELLS,
    PAGE,
    RECORDS,
    SharedMemory,
)

# Cells of a mirror's header.
WRITTEN: Final = 0  # differences so far
SAMPLED: Final = 1  # samples so far

# Cells of a tally. Each counts requests.
TALLY_TAG: Final = 0
MIRRORED: Final = 1  # copies that were sent
SAME: Final = 2
DIFFERENT: Final = 3
FAILED: Final = 4  # the idle pool has not answered
UNCOMPARED: Final = 5  # the active pool, or its client, has not come to the end of the answer
LEFT_OUT: Final = 6  # due, but nobody was healthy, or too many copies were under way
BODIES_LEFT_OUT: Final = 7  # compared without their bodies, which were too large or had no end
# of those that are different, by what differs: one may be counted in several
STATUS_DIFFERS: Final = 8
HEADERS_DIFFER: Final = 9
BODY_DIFFERS: Final = 10
# of those that have failed
MIRROR_CONNECT_FAILED: Final = 11
MIRROR_RESET: Final = 12
MIRROR_TIMED_OUT: Final = 13
MIRROR_INVALID: Final = 14

# A text may have so many bytes.
TEXT_BYTES: Final = MIRROR_DIFFERENCE_BYTES - 24

_TALLIES_CELL: Final = PAGE // 8
_SAMPLES_CELL: Final = _TALLIES_CELL + RECORDS * MIRROR_TALLY_CELLS
_DIFFERENCES_OFFSET: Final = (_SAMPLES_CELL + MIRROR_SAMPLES * MIRROR_SAMPLE_CELLS) * 8
_SEAL: Final = struct.Struct("=QQII")  # number (from 1), tag, length, checksum
_HALF_BITS: Final = 32
_HALF: Final = (1 << _HALF_BITS) - 1


@dataclass(slots=True)
class MirrorTotals:
    """One service's tally, summed over all workers that there are or were. In the order of the cells."""

    mirrored: int = 0
    same: int = 0
    different: int = 0
    failed: int = 0
    uncompared: int = 0
    left_out: int = 0
    bodies_left_out: int = 0
    status_differs: int = 0
    headers_differ: int = 0
    body_differs: int = 0
    connect_failed: int = 0
    reset: int = 0
    timed_out: int = 0
    invalid: int = 0

    def add(self, tally: memoryview[int]) -> None:
        for cell, field in enumerate(fields(self), MIRRORED):
            setattr(self, field.name, getattr(self, field.name) + tally[cell])


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Everything that is known of one service's mirror. `samples` are microseconds: (active, idle)."""

    totals: MirrorTotals
    samples: list[tuple[int, int]]
    differences: list[bytes]  # of each worker the newest first


class MirrorWriter:
    """A worker's own mirror. It goes on where the block's last worker stopped."""

    def __init__(self, memory: SharedMemory, index: int) -> None:
        self._bytes = memory.mirror(index)
        self._cells = self._bytes.cast("Q")

    def tally(self, slot: int, tag: int) -> memoryview[int]:
        """The tally of a service, zeroed if somebody else had the slot before."""
        tally = _tally(self._cells, slot)
        if tally[TALLY_TAG] != tag:
            for cell in range(MIRROR_TALLY_CELLS):
                tally[cell] = 0
            tally[TALLY_TAG] = tag
        return tally

    def sample(self, tag: int, active_us: int, idle_us: int) -> None:
        cells = self._cells
        start = _SAMPLES_CELL + cells[SAMPLED] % MIRROR_SAMPLES * MIRROR_SAMPLE_CELLS
        # Without its tag a sample is nobody's, so no reader takes it for the one that it replaces.
        cells[start] = 0
        cells[start + 1] = min(active_us, _HALF) << _HALF_BITS | min(idle_us, _HALF)
        cells[start] = tag
        cells[SAMPLED] += 1

    def difference(self, tag: int, text: bytes) -> None:
        """Keeps a text of at most `TEXT_BYTES`, in the place of the oldest."""
        if len(text) > TEXT_BYTES:
            raise ValueError(f"a difference has at most {TEXT_BYTES} bytes, not {len(text)}")
        number = self._cells[WRITTEN] + 1
        start = _difference_offset(number)
        _SEAL.pack_into(self._bytes, start, 0, 0, 0, 0)
        self._bytes[start + _SEAL.size : start + _SEAL.size + len(text)] = text
        _SEAL.pack_into(self._bytes, start, number, tag, len(text), _checksum(number, tag, text))
        self._cells[WRITTEN] = number


class MirrorReader:
    """The controller's side."""

    def __init__(self, memory: SharedMemory) -> None:
        self._blocks = [memory.block(index) for index in range(BLOCKS)]
        self._mirrors = [memory.mirror(index) for index in range(BLOCKS)]

    def totals(self, slot: int, tag: int) -> MirrorTotals:
        totals = MirrorTotals()
        for mirror in self._used():
            tally = _tally(mirror.cast("Q"), slot)
            if tally[TALLY_TAG] == tag:
                totals.add(tally)
        return totals

    def read(self, slot: int, tag: int) -> Mirrored:
        samples: list[tuple[int, int]] = []
        differences: list[bytes] = []
        for mirror in self._used():
            samples += _samples(mirror.cast("Q"), tag)
            differences += _differences(mirror, tag)
        return Mirrored(self.totals(slot, tag), samples, differences)

    # Private

    def _used(self) -> Iterator[memoryview]:
        # Only these: even to look at a page of the sparse memory allocates it.
        return (mirror for block, mirror in zip(self._blocks, self._mirrors, strict=True) if block[STARTS])


def _tally(cells: memoryview[int], slot: int) -> memoryview[int]:
    start = _TALLIES_CELL + slot * MIRROR_TALLY_CELLS
    return cells[start : start + MIRROR_TALLY_CELLS]


def _samples(cells: memoryview[int], tag: int) -> Iterator[tuple[int, int]]:
    kept = min(cells[SAMPLED], MIRROR_SAMPLES)
    for start in range(_SAMPLES_CELL, _SAMPLES_CELL + kept * MIRROR_SAMPLE_CELLS, MIRROR_SAMPLE_CELLS):
        if cells[start] == tag:
            both = cells[start + 1]
            if cells[start] == tag:
                yield both >> _HALF_BITS, both & _HALF


def _differences(mirror: memoryview, tag: int) -> Iterator[bytes]:
    written = mirror.cast("Q")[WRITTEN]
    for number in range(written, max(written - MIRROR_DIFFERENCES, 0), -1):
        start = _difference_offset(number)
        sealed, its_tag, length, checksum = _SEAL.unpack_from(mirror, start)
        if sealed != number or its_tag != tag or length > TEXT_BYTES:
            continue
        text = bytes(mirror[start + _SEAL.size : start + _SEAL.size + length])
        if _checksum(number, tag, text) == checksum:  # else it is being overwritten
            yield text


def _difference_offset(number: int) -> int:
    return _DIFFERENCES_OFFSET + number % MIRROR_DIFFERENCES * MIRROR_DIFFERENCE_BYTES


def _checksum(number: int, tag: int, text: bytes) -> int:
    """CRC-32, begun with what else the seal says, as that of a snapshot."""
    return zlib.crc32(text, zlib.crc32(struct.pack("=QQ", number, tag)))
