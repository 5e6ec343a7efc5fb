"""What other processes do to the memory: `python -m tests.shared_memory.child ACT FD... ARGUMENT...`."""

from __future__ import annotations

import os
import random
import select
import struct
import sys
import time
from collections.abc import Callable
from itertools import count

from bgproxy.shared_memory import snapshot
from bgproxy.shared_memory.clients import Clients
from bgproxy.shared_memory.counters import (
    DURATION_US,
    HISTOGRAM,
    IN_FLIGHT,
    RESPONSES,
    WorkerBlock,
    bucket_of,
)
from bgproxy.shared_memory.layout import SLOTS, SharedMemory
from bgproxy.shared_memory.mirrors import TEXT_BYTES, MirrorWriter
from bgproxy.shared_memory.snapshot import SnapshotWriter, sequence_of
from bgproxy.shared_memory.wake import Bell
from tests.shared_memory.payloads import numbered_payload

WAKE_TIMEOUT_S = 10.0


def say(fact: object) -> None:
    os.write(1, f"{fact}\n".encode())


def add_one(fd: int, cell: int) -> None:
    """In the header, which the test reads back."""
    SharedMemory(fd).cells[cell] += 1


def publish(fd: int, largest_bytes: int, last: int = 0) -> None:
    """Numbered payloads as fast as it can, up to `last` or until it is killed."""
    writer = SnapshotWriter(SharedMemory(fd))
    say(sequence_of(writer.word))
    for number in count(sequence_of(writer.word) + 1):
        writer.publish(numbered_payload(number, largest_bytes))
        if number == last:
            return


def read(fd: int, largest_bytes: int, last: int) -> None:
    """Until it has read number `last`; every payload has to be the whole one of its word."""
    _read_all(SharedMemory(fd), largest_bytes, last)


def read_slowly(fd: int, largest_bytes: int, last: int) -> None:
    """The same, but now and then it lets the writer get ahead: before each cell of the seal and the payload."""
    memory = _SlowMemory(fd)
    memory.pause = _Pauses(memory, last)
    snapshot._SEAL = _SlowSeal(snapshot._SEAL, memory.pause)  # type: ignore[misc, assignment]
    _read_all(memory, largest_bytes, last)
    if not memory.pause.lapped:
        raise AssertionError("was never lapped")


def _read_all(memory: SharedMemory, largest_bytes: int, last: int) -> None:
    say("ready")
    sequence, different = 0, 0
    while sequence < last:
        current = snapshot.read(memory)
        if current is None:
            continue
        word, payload = current
        if sequence_of(word) < sequence:
            raise AssertionError(f"{sequence_of(word)} was read after {sequence}")
        different += sequence_of(word) > sequence
        sequence = sequence_of(word)
        if payload != numbered_payload(sequence, largest_bytes):
            raise AssertionError(f"{sequence} is torn: {len(payload)} bytes from {payload[:8]!r}")
    say(different)


class _Pauses:
    """Pauses that end when the writer has published a few more, or its last."""

    def __init__(self, memory: SharedMemory, last: int) -> None:
        self.lapped = 0
        self._word = memory.word()
        self._last = last
        self._dice = random.Random(4)

    def __call__(self) -> None:
        if self._dice.random() < 0.8:
            return
        ahead = self._dice.randint(1, 2 * SLOTS)
        until = min(sequence_of(self._word[0]) + ahead, self._last)
        while sequence_of(self._word[0]) < until:
            os.sched_yield()
        self.lapped += ahead >= SLOTS


class _SlowMemory(SharedMemory):
    pause: _Pauses

    def slot(self, index: int) -> memoryview:
        self.pause()
        return super().slot(index)


class _SlowSeal:
    def __init__(self, seal: struct.Struct, pause: Callable[[], None]) -> None:
        self._seal = seal
        self._pause = pause

    def unpack_from(self, slot: memoryview) -> tuple[int, ...]:
        cells = []
        for cell in range(len(self._seal.unpack_from(slot))):
            cells.append(self._seal.unpack_from(slot)[cell])
            self._pause()
        return tuple(cells)


def serve(fd: int, block: int, slot: int, tag: int) -> None:
    """A worker with two requests under way and three done, until it is killed."""
    record = WorkerBlock(SharedMemory(fd), block).record(slot, tag)
    record[IN_FLIGHT] = 2
    record[RESPONSES + 2] += 3
    say("ready")
    time.sleep(WAKE_TIMEOUT_S)


def count_requests(fd: int, block: int, slot: int, tag: int) -> None:
    """Until the first snapshot is published."""
    memory = SharedMemory(fd)
    word = memory.word()
    record = WorkerBlock(memory, block).record(slot, tag)
    say("ready")
    done = 0
    while not word[0]:
        record[RESPONSES + 2] += 1
        record[DURATION_US] += 300
        record[HISTOGRAM + bucket_of(300)] += 1
        done += 1
    say(done)


def write_differences(fd: int, block: int, tag: int) -> None:
    """Texts of one letter each, as fast as it can, until it is killed."""
    memory = SharedMemory(fd)
    WorkerBlock(memory, block)
    writer = MirrorWriter(memory, block)
    say("ready")
    for number in count():
        writer.difference(tag, bytes([65 + number % 26]) * (1 + number % TEXT_BYTES))


def take_places(fd: int, block: int, most: int) -> None:
    """From the first snapshot on as many as it gets in so many attempts, which it keeps until it is killed."""
    memory = SharedMemory(fd)
    word = memory.word()
    WorkerBlock(memory, block)
    limit = Clients(memory, block).limit("public", most, most)
    say("ready")
    while not word[0]:
        pass
    tickets = [limit.enter() for _ in range(2 * most)]
    taken = [ticket for ticket in tickets if ticket is not None and limit.enter_as(ticket, b"192.0.2.7")]
    say(len(taken))
    time.sleep(WAKE_TIMEOUT_S)


def ring(read_fd: int, write_fd: int) -> None:
    Bell((read_fd, write_fd)).ring()


def be_woken_by_a_fork(read_fd: int, write_fd: int) -> None:
    bell = Bell((read_fd, write_fd))
    pid = os.fork()
    if pid == 0:
        bell.ring()
        os._exit(0)
    woken, _, _ = select.select([bell], [], [], WAKE_TIMEOUT_S)
    os.waitpid(pid, 0)
    say("woken" if woken else "asleep")


if __name__ == "__main__":
    acts: tuple[Callable[..., None], ...] = (
        *(add_one, publish, read, read_slowly),
        *(serve, count_requests, take_places, write_differences, ring, be_woken_by_a_fork),
    )
    {act.__name__: act for act in acts}[sys.argv[1]](*map(int, sys.argv[2:]))
