from __future__ import annotations

import os

import pytest

from bgproxy.shared_memory import layout, snapshot
from bgproxy.shared_memory.counters import (
    HISTOGRAM,
    LATENCY_BUCKETS,
    USED_RECORDS,
    CounterReader,
    WorkerBlock,
)
from bgproxy.shared_memory.layout import (
    BLOCK_BYTES,
    BLOCK_HEADER_CELLS,
    BLOCKS,
    BLOCKS_OFFSET,
    MAGIC_CELL,
    MIRROR_BYTES,
    MIRRORS_OFFSET,
    PAGE,
    RECORD_CELLS,
    SIZE,
    SLOT_BYTES,
    SLOTS,
    SLOTS_OFFSET,
    VERSION,
    VERSION_CELL,
    WORD_CELL,
    SharedMemory,
)
from bgproxy.shared_memory.snapshot import SnapshotWriter
from tests.shared_memory.conftest import Start, finished

CACHE_LINE_BYTES = 64
SPARE_CELL = 64  # in the header, used by nobody


def allocated_bytes(memory: SharedMemory) -> int:
    return os.fstat(memory.fd).st_blocks * 512


def test_blocks_and_slots_begin_at_pages_and_end_with_the_file(memory: SharedMemory) -> None:
    sizes_bytes = (BLOCKS_OFFSET, BLOCK_BYTES, SLOTS_OFFSET, SLOT_BYTES, BLOCK_HEADER_CELLS * 8)
    for size_bytes in (*sizes_bytes, MIRRORS_OFFSET, MIRROR_BYTES):
        assert size_bytes % PAGE == 0
    assert os.fstat(memory.fd).st_size == SIZE == MIRRORS_OFFSET + BLOCKS * MIRROR_BYTES
    assert {len(memory.block(index)) * 8 for index in range(BLOCKS)} == {BLOCK_BYTES}
    assert {len(memory.slot(index)) for index in range(SLOTS)} == {SLOT_BYTES}
    assert {len(memory.mirror(index)) for index in range(BLOCKS)} == {MIRROR_BYTES}


def test_the_word_and_the_records_share_no_cache_line_with_others() -> None:
    assert WORD_CELL * 8 % CACHE_LINE_BYTES == 0
    assert max(MAGIC_CELL, VERSION_CELL) < WORD_CELL
    assert RECORD_CELLS * 8 % CACHE_LINE_BYTES == 0
    assert HISTOGRAM + LATENCY_BUCKETS <= RECORD_CELLS
    assert USED_RECORDS < BLOCK_HEADER_CELLS


def test_no_two_parts_overlap(memory: SharedMemory) -> None:
    """The first and the last cell of every part are still as they were marked after all have been marked."""
    parts = [memory.cells[WORD_CELL:BLOCK_HEADER_CELLS]]
    parts += [memory.block(index) for index in range(BLOCKS)]
    parts += [memory.slot(index).cast("Q") for index in range(SLOTS)]
    parts += [memory.mirror(index).cast("Q") for index in range(BLOCKS)]
    for mark, part in enumerate(parts, 1):
        part[0] = part[-1] = mark
    assert [(part[0], part[-1]) for part in parts] == [(mark, mark) for mark in range(1, len(parts) + 1)]


@pytest.mark.parametrize("index", [-1, BLOCKS])
def test_there_are_no_other_blocks(memory: SharedMemory, index: int) -> None:
    with pytest.raises(ValueError, match=f"0 to {BLOCKS - 1}, not {index}"):
        memory.block(index)


def test_another_process_maps_the_same_memory(memory: SharedMemory, start: Start) -> None:
    memory.cells[SPARE_CELL] = 41
    finished(start("add_one", SPARE_CELL, fds=(memory.fd,)))
    assert memory.cells[SPARE_CELL] == 42


def test_two_memories_share_nothing(memory: SharedMemory) -> None:
    other = SharedMemory.create()
    other.cells[SPARE_CELL] = 1
    assert memory.cells[SPARE_CELL] == 0
    os.close(other.fd)


def test_a_temporary_file_does_where_there_is_no_memfd(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    monkeypatch.delattr(os, "memfd_create")
    memory = SharedMemory.create()
    assert os.fstat(memory.fd).st_nlink == 0
    finished(start("add_one", SPARE_CELL, fds=(memory.fd,)))
    assert memory.cells[SPARE_CELL] == 1
    os.close(memory.fd)


@pytest.mark.parametrize("size_bytes", [0, SIZE - 1, SIZE + PAGE])
def test_a_memory_of_another_size_is_refused(memory: SharedMemory, size_bytes: int) -> None:
    os.ftruncate(memory.fd, size_bytes)
    with pytest.raises(ValueError, match=f"has {size_bytes} bytes, this version needs {SIZE}"):
        SharedMemory(memory.fd)


@pytest.mark.parametrize(("cell", "value"), [(MAGIC_CELL, 0), (VERSION_CELL, VERSION + 1)])
def test_a_memory_of_another_layout_is_refused(memory: SharedMemory, cell: int, value: int) -> None:
    SharedMemory(memory.fd)
    memory.cells[cell] = value
    with pytest.raises(ValueError, match=f"not of layout version {VERSION}"):
        SharedMemory(memory.fd)


def test_what_nobody_uses_takes_no_memory(memory: SharedMemory) -> None:
    """Not even when workers start and the controller looks at all of it."""
    assert allocated_bytes(memory) == PAGE
    for index in range(4):
        block = WorkerBlock(memory, index)
        for slot in range(100):
            block.record(slot, 1)
        WorkerBlock(memory, index)
    snapshot_bytes = 100_000
    SnapshotWriter(memory).publish(bytes(snapshot_bytes))
    snapshot.read(memory)
    reader = CounterReader(memory)
    reader.workers()
    for slot in range(100):
        reader.totals(slot, 1)
    records_bytes = 4 * 100 * RECORD_CELLS * 8
    headers_bytes = (1 + BLOCKS + SLOTS) * PAGE
    rounding_bytes = 8 * PAGE
    assert allocated_bytes(memory) <= headers_bytes + records_bytes + snapshot_bytes + rounding_bytes


def test_the_descriptor_is_closed_when_another_program_is_started(memory: SharedMemory) -> None:
    assert not os.get_inheritable(memory.fd)


def test_the_magic_spells_the_name() -> None:
    assert layout.MAGIC.to_bytes(8, "big").rstrip(b"\0") == b"BGPROXY"
