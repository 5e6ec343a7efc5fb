from __future__ import annotations

import os
import signal
from itertools import pairwise

import pytest

from bgproxy.shared_memory.counters import (
    ACCEPTED,
    CONNECT_FAILED,
    CONNECTIONS,
    DRAINING,
    DURATION_US,
    EJECTED,
    EJECTIONS,
    HELD,
    HISTOGRAM,
    IDLE,
    IN_FLIGHT,
    INVALID,
    LATENCY_BOUNDS_US,
    LATENCY_BUCKETS,
    LOG_DROPPED,
    OVERFLOWED,
    PARKED,
    QUEUED,
    RESET,
    RESPONSES,
    RETRIED,
    SEEN,
    STATE,
    TAG,
    TIMED_OUT,
    TUNNELS,
    CounterReader,
    Totals,
    WorkerBlock,
    WorkerView,
    bucket_of,
    count_ejection,
    is_alive,
)
from bgproxy.shared_memory.layout import BLOCK_HEADER_CELLS, RECORD_CELLS, RECORDS, SharedMemory
from bgproxy.shared_memory.snapshot import SnapshotWriter
from tests.shared_memory.conftest import Start, finished, said

SLOT, TAG_1, TAG_2 = 5, 1001, 1002
LAST_SLOT = RECORDS - 1


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", [0, SLOT, LAST_SLOT])
def test_a_new_tag_zeroes_the_record(memory: SharedMemory, slot: int) -> None:
    block = WorkerBlock(memory, 0)
    record = block.record(slot, TAG_1)
    for cell in range(TAG + 1, len(record)):
        record[cell] = 7
    assert list(block.record(slot, TAG_2)) == [TAG_2] + [0] * (len(record) - 1)


def test_neighbours_of_a_new_record_are_left_alone(memory: SharedMemory) -> None:
    block = WorkerBlock(memory, 0)
    neighbours = [block.record(slot, TAG_1) for slot in (SLOT - 1, SLOT + 1)]
    for record in neighbours:
        for cell in range(TAG + 1, len(record)):
            record[cell] = 7
    block.record(SLOT, TAG_2)
    assert [list(record) for record in neighbours] == [[TAG_1] + [7] * (len(record) - 1)] * 2


def test_the_same_tag_keeps_the_record(memory: SharedMemory) -> None:
    block = WorkerBlock(memory, 0)
    block.record(SLOT, TAG_1)[RETRIED] = 3
    block.record(SLOT, TAG_1)[RETRIED] += 1
    assert block.record(SLOT, TAG_1)[RETRIED] == 4


@pytest.mark.parametrize("slot", [0, SLOT, LAST_SLOT])
def test_a_successor_goes_on_with_the_counters_and_begins_with_no_gauges(
    memory: SharedMemory, slot: int
) -> None:
    block = WorkerBlock(memory, 0)
    record = block.record(slot, TAG_1)
    for cell in range(TAG + 1, len(record)):
        record[cell] = 7
    for cell in (SEEN, CONNECTIONS, ACCEPTED, PARKED, OVERFLOWED):
        block.cells[cell] = 9
    block.cells[STATE] = DRAINING
    WorkerBlock(memory, 0)
    totals = CounterReader(memory).totals(slot, TAG_1)
    assert (totals.in_flight, totals.tunnels, totals.idle, totals.ejected, totals.queued) == (0, 0, 0, 0, 0)
    assert totals.ejections == 7
    assert totals.responses == [7] * 6
    assert totals.latency == [7] * LATENCY_BUCKETS
    assert CounterReader(memory).workers() == [
        WorkerView(
            block=0,
            pid=os.getpid(),
            draining=False,
            seen=0,
            connections=0,
            accepted=9,
            parked=0,
            overflowed=9,
            starts=2,
        )
    ]


# --- sums -----------------------------------------------------------------------------------------


def test_totals_have_every_counter_in_its_place(memory: SharedMemory) -> None:
    record = WorkerBlock(memory, 0).record(SLOT, TAG_1)
    cells = [IN_FLIGHT, TUNNELS, IDLE, CONNECT_FAILED, RESET, TIMED_OUT, INVALID, RETRIED, HELD, DURATION_US]
    cells += range(RESPONSES, RESPONSES + 6)
    cells += range(HISTOGRAM, HISTOGRAM + LATENCY_BUCKETS)
    cells += [EJECTIONS, EJECTED, QUEUED]
    assert len(set(cells)) == len(cells)
    for value, cell in enumerate(cells, 1):
        record[cell] = value
    totals = CounterReader(memory).totals(SLOT, TAG_1)
    assert totals == Totals(
        in_flight=1,
        tunnels=2,
        idle=3,
        connect_failed=4,
        reset=5,
        timed_out=6,
        invalid=7,
        retried=8,
        held=9,
        duration_us=10,
        responses=[11, 12, 13, 14, 15, 16],
        latency=list(range(17, 17 + LATENCY_BUCKETS)),
        ejections=17 + LATENCY_BUCKETS,
        ejected=18 + LATENCY_BUCKETS,
        queued=19 + LATENCY_BUCKETS,
    )
    assert totals.requests == 11 + 12 + 13 + 14 + 15 + 16


def test_blocks_are_summed_where_the_tag_fits(memory: SharedMemory) -> None:
    blocks = [WorkerBlock(memory, index) for index in (0, 1, 63)]
    for number, block in enumerate(blocks, 1):
        block.cells[ACCEPTED] = 10 * number
        block.cells[LOG_DROPPED] = 7 * number
        record = block.record(SLOT, TAG_1)
        record[IN_FLIGHT] = number
        record[RESPONSES + 2] = 100 * number
    blocks[1].record(SLOT, TAG_2)[IN_FLIGHT] = 1000
    reader = CounterReader(memory)
    assert reader.totals(SLOT, TAG_1).in_flight == reader.gauge(IN_FLIGHT, SLOT, TAG_1) == 1 + 3
    assert reader.under_way([(SLOT, TAG_1)]) == (1 + 3, 0, 0)
    assert reader.totals(SLOT, TAG_1).requests == 100 + 300
    assert reader.totals(SLOT, TAG_2).in_flight == reader.gauge(IN_FLIGHT, SLOT, TAG_2) == 1000
    assert reader.totals(SLOT, TAG_2).requests == 0
    assert reader.totals(SLOT + 1, TAG_1) == Totals()
    assert reader.accepted() == 10 + 20 + 30
    assert reader.log_dropped() == 7 + 14 + 21
    assert [view.block for view in reader.workers()] == [0, 1, 63]


def test_merged_totals_are_those_of_both(memory: SharedMemory) -> None:
    block = WorkerBlock(memory, 0)
    one, other = block.record(SLOT, TAG_1), block.record(SLOT + 1, TAG_2)
    for cell in range(TAG + 1, len(one)):
        one[cell], other[cell] = cell, 1000 * cell
    reader = CounterReader(memory)
    merged, unchanged = reader.totals(SLOT, TAG_1), reader.totals(SLOT + 1, TAG_2)
    merged.merge(unchanged)
    assert unchanged == reader.totals(SLOT + 1, TAG_2)
    for cell in range(TAG + 1, len(one)):
        one[cell] += other[cell]
    assert merged == reader.totals(SLOT, TAG_1)


@pytest.mark.parametrize("gauge", [IN_FLIGHT, TUNNELS, IDLE])
def test_a_slot_is_quiet_when_no_gauge_of_any_worker_is_up(memory: SharedMemory, gauge: int) -> None:
    """Whatever the tag: a worker that has not seen the last change may still use the record."""
    reader = CounterReader(memory)
    assert reader.is_quiet(SLOT)
    WorkerBlock(memory, 0).record(SLOT, TAG_2)[RESPONSES] = 1
    record = WorkerBlock(memory, 1).record(SLOT, TAG_1)
    assert reader.is_quiet(SLOT)
    record[gauge] = 1
    assert not reader.is_quiet(SLOT)
    assert reader.is_quiet(SLOT + 1)
    record[gauge] = 0
    assert reader.is_quiet(SLOT)


def test_an_ejected_upstream_has_nothing_under_way(memory: SharedMemory) -> None:
    """If it leaves its pool meanwhile, its slot is free for another one."""
    WorkerBlock(memory, 0).record(SLOT, TAG_1)[EJECTED] = 1
    assert CounterReader(memory).is_quiet(SLOT)


def test_each_worker_counts_its_own_ejections(memory: SharedMemory) -> None:
    first, second = (WorkerBlock(memory, index).record(SLOT, TAG_1) for index in (0, 1))
    for record in (first, second):
        count_ejection(record, ejected=True)
    totals = CounterReader(memory).totals(SLOT, TAG_1)
    assert (totals.ejections, totals.ejected) == (2, 2)
    count_ejection(first, ejected=False)
    totals = CounterReader(memory).totals(SLOT, TAG_1)
    assert (totals.ejections, totals.ejected) == (2, 1)


def test_buckets_include_their_upper_bounds() -> None:
    assert bucket_of(0) == 0
    for index, bound_us in enumerate(LATENCY_BOUNDS_US):
        assert bucket_of(bound_us) == index
        assert bucket_of(bound_us + 1) == index + 1
    assert bucket_of(2**63) == LATENCY_BUCKETS - 1


def test_buckets_grow_and_are_fine_where_latencies_are() -> None:
    """A percentile read from them is never off by more than half up to ten seconds."""
    assert all(upper > lower for lower, upper in pairwise(LATENCY_BOUNDS_US))
    fine = [bound_us for bound_us in LATENCY_BOUNDS_US if bound_us <= 10_000_000]
    assert all(upper / lower <= 1.5 for lower, upper in pairwise(fine))


# --- other processes ------------------------------------------------------------------------------


def test_a_dead_worker_has_no_gauges_but_its_counters_stay(memory: SharedMemory, start: Start) -> None:
    reader = CounterReader(memory)
    child = start("serve", 2, SLOT, TAG_1, fds=(memory.fd,))
    assert said(child) == "ready"
    assert [(view.block, view.pid) for view in reader.workers()] == [(2, child.pid)]
    assert reader.totals(SLOT, TAG_1).in_flight == reader.gauge(IN_FLIGHT, SLOT, TAG_1) == 2
    assert not reader.is_quiet(SLOT)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert reader.workers() == []
    assert reader.totals(SLOT, TAG_1).in_flight == reader.gauge(IN_FLIGHT, SLOT, TAG_1) == 0
    assert reader.is_quiet(SLOT)
    assert reader.totals(SLOT, TAG_1).requests == 3
    successor = start("serve", 2, SLOT, TAG_1, fds=(memory.fd,))
    assert said(successor) == "ready"
    assert [(view.pid, view.starts) for view in reader.workers()] == [(successor.pid, 2)]
    assert reader.totals(SLOT, TAG_1).in_flight == 2
    assert reader.totals(SLOT, TAG_1).requests == 6


def test_sums_never_go_back_while_workers_count(memory: SharedMemory, start: Start) -> None:
    """Two of them, and a successor of the second, which is killed in the middle of it."""
    reader = CounterReader(memory)
    last: list[int] = []

    def watch(looks: int) -> None:
        nonlocal last
        for _ in range(looks):
            totals = reader.totals(SLOT, TAG_1)
            now = [totals.requests, totals.duration_us, *totals.latency]
            assert not last or all(new >= old for old, new in zip(last, now, strict=True))
            last = now

    def requests() -> int:
        return reader.totals(SLOT, TAG_1).requests

    first, second = (start("count_requests", block, SLOT, TAG_1, fds=(memory.fd,)) for block in (0, 1))
    assert [said(first), said(second)] == ["ready", "ready"]
    while requests() < 10_000:
        watch(100)
    second.kill()
    watch(100)
    second.wait()
    of_the_dead = memory.block(1)[BLOCK_HEADER_CELLS + SLOT * RECORD_CELLS + RESPONSES + 2]
    successor = start("count_requests", 1, SLOT, TAG_1, fds=(memory.fd,))
    while reader.workers()[-1].pid != successor.pid:
        watch(10)
    assert said(successor) == "ready"
    watch(500)
    SnapshotWriter(memory).publish(b"enough")
    counted = int(finished(first)) + of_the_dead + int(finished(successor))
    watch(1)
    assert requests() == counted


def test_a_process_is_alive_until_it_has_been_reaped(start: Start, memory: SharedMemory) -> None:
    child = start("add_one", 64, fds=(memory.fd,))
    assert is_alive(child.pid)
    child.wait()
    assert not is_alive(child.pid)
    assert not is_alive(0)


def test_a_process_of_somebody_else_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(1)
