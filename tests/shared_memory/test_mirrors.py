from __future__ import annotations

import os
from itertools import count

import pytest

from bgproxy.shared_memory.counters import CounterReader, WorkerBlock
from bgproxy.shared_memory.layout import (
    MIRROR_DIFFERENCES,
    MIRROR_SAMPLES,
    MIRROR_TALLY_CELLS,
    PAGE,
    RECORDS,
    SharedMemory,
)
from bgproxy.shared_memory.mirrors import (
    DIFFERENT,
    MIRROR_INVALID,
    MIRRORED,
    TALLY_TAG,
    TEXT_BYTES,
    MirrorReader,
    MirrorTotals,
    MirrorWriter,
)
from tests.shared_memory.conftest import Start, said

SLOT, TAG_1, TAG_2 = 5, 1001, 1002


def writer(memory: SharedMemory, index: int) -> MirrorWriter:
    WorkerBlock(memory, index)
    return MirrorWriter(memory, index)


def differences(memory: SharedMemory, tag: int = TAG_1) -> list[bytes]:
    return MirrorReader(memory).read(SLOT, tag).differences


# --- tallies --------------------------------------------------------------------------------------


def test_totals_have_every_cell_in_its_place(memory: SharedMemory) -> None:
    tally = writer(memory, 0).tally(SLOT, TAG_1)
    for cell in range(MIRRORED, MIRROR_INVALID + 1):
        tally[cell] = cell
    totals = MirrorReader(memory).totals(SLOT, TAG_1)
    assert (totals.mirrored, totals.different, totals.invalid) == (MIRRORED, DIFFERENT, MIRROR_INVALID)
    assert totals == MirrorTotals(*range(MIRRORED, MIRROR_INVALID + 1))


@pytest.mark.parametrize("slot", [0, SLOT, RECORDS - 1])
def test_a_new_tag_zeroes_the_tally_and_no_other(memory: SharedMemory, slot: int) -> None:
    mine = writer(memory, 0)
    neighbours = [mine.tally(each, TAG_1) for each in (slot - 1, slot + 1) if 0 <= each < RECORDS]
    for tally in (*neighbours, mine.tally(slot, TAG_1)):
        for cell in range(TALLY_TAG + 1, MIRROR_TALLY_CELLS):
            tally[cell] = 7
    assert list(mine.tally(slot, TAG_2)) == [TAG_2] + [0] * (MIRROR_TALLY_CELLS - 1)
    for tally in neighbours:
        assert list(tally) == [TAG_1] + [7] * (MIRROR_TALLY_CELLS - 1)


def test_workers_are_summed_where_the_tag_fits(memory: SharedMemory) -> None:
    for index, (tag, mirrored) in enumerate([(TAG_1, 1), (TAG_2, 10), (TAG_1, 100)]):
        writer(memory, index).tally(SLOT, tag)[MIRRORED] = mirrored
    assert MirrorReader(memory).totals(SLOT, TAG_1).mirrored == 101
    assert MirrorReader(memory).totals(SLOT, 3) == MirrorTotals()


# --- samples --------------------------------------------------------------------------------------


def test_samples_are_of_one_service_and_over_all_workers(memory: SharedMemory) -> None:
    first, second = writer(memory, 0), writer(memory, 127)
    first.sample(TAG_1, 10, 20)
    first.sample(TAG_2, 1, 2)
    second.sample(TAG_1, 30, 2**40)
    assert MirrorReader(memory).read(SLOT, TAG_1).samples == [(10, 20), (30, 2**32 - 1)]


def test_of_many_samples_the_last_are_kept(memory: SharedMemory) -> None:
    mine = writer(memory, 0)
    for number in range(MIRROR_SAMPLES + 3):
        mine.sample(TAG_1, number, number)
    found = {active_us for active_us, _ in MirrorReader(memory).read(SLOT, TAG_1).samples}
    assert found == set(range(3, MIRROR_SAMPLES + 3))


# --- differences ----------------------------------------------------------------------------------


def test_differences_come_newest_first_and_of_one_service(memory: SharedMemory) -> None:
    mine = writer(memory, 0)
    for tag, text in ((TAG_1, b"1"), (TAG_2, b"other"), (TAG_1, b""), (TAG_1, b"3")):
        mine.difference(tag, text)
    assert differences(memory) == [b"3", b"", b"1"]
    assert differences(memory, TAG_2) == [b"other"]


def test_of_many_differences_the_last_are_kept(memory: SharedMemory) -> None:
    mine = writer(memory, 0)
    for number in range(MIRROR_DIFFERENCES * 2 + 3):
        mine.difference(TAG_1, str(number).encode())
    last = MIRROR_DIFFERENCES * 2 + 2
    assert differences(memory) == [str(last - back).encode() for back in range(MIRROR_DIFFERENCES)]


def test_the_largest_difference_fits_and_a_larger_one_is_refused(memory: SharedMemory) -> None:
    mine = writer(memory, 0)
    for _ in range(MIRROR_DIFFERENCES + 1):
        mine.difference(TAG_1, b"x" * TEXT_BYTES)
    assert differences(memory) == [b"x" * TEXT_BYTES] * MIRROR_DIFFERENCES
    with pytest.raises(ValueError, match=f"at most {TEXT_BYTES} bytes"):
        mine.difference(TAG_1, b"x" * (TEXT_BYTES + 1))


def test_a_successor_goes_on_behind_the_last_difference(memory: SharedMemory) -> None:
    writer(memory, 0).difference(TAG_1, b"before")
    writer(memory, 0).difference(TAG_1, b"after")
    assert differences(memory) == [b"after", b"before"]


def test_a_difference_that_is_being_overwritten_is_left_out(memory: SharedMemory) -> None:
    mine = writer(memory, 0)
    for text in (b"first", b"second"):
        mine.difference(TAG_1, text)
    place = bytes(memory.mirror(0)).index(b"second")
    memory.mirror(0)[place] = 0
    assert differences(memory) == [b"first"]


def test_a_reader_never_sees_a_torn_difference(memory: SharedMemory, start: Start) -> None:
    """Each text is one letter many times; a worker writes them as fast as it can."""
    child = start("write_differences", 0, TAG_1, fds=(memory.fd,))
    assert said(child) == "ready"
    reader = MirrorReader(memory)
    seen: set[bytes] = set()
    for _ in count():
        for text in reader.read(SLOT, TAG_1).differences:
            assert len(set(text)) == 1
            seen.add(text)
        if len(seen) > 1000:
            break
    child.kill()


def test_what_nobody_mirrors_takes_no_memory(memory: SharedMemory) -> None:
    for index in range(4):
        writer(memory, index)
    CounterReader(memory).workers()  # looks at every block
    allocated = os.fstat(memory.fd).st_blocks
    MirrorReader(memory).totals(SLOT, TAG_1)
    MirrorWriter(memory, 5)
    assert (os.fstat(memory.fd).st_blocks - allocated) * 512 <= 4 * PAGE
