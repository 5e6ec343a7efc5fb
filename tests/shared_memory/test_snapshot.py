from __future__ import annotations

import struct
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bgproxy.model import ServiceView, Snapshot, Timeouts
from bgproxy.shared_memory import snapshot
from bgproxy.shared_memory.layout import PAGE, SLOT_BYTES, SLOTS, SharedMemory
from bgproxy.shared_memory.snapshot import SnapshotWriter, decode, encode, read, sequence_of
from tests.shared_memory.conftest import Start, finished, said
from tests.shared_memory.examples import services, snapshot_of, snapshots
from tests.shared_memory.payloads import numbered_payload
from tests.support.views import changed

LARGEST_BYTES = SLOT_BYTES - PAGE

unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


class Killed(BaseException):
    """The writer is gone from here on."""


def nothing() -> None:
    pass


class Seal:
    """The real seal, with something happening in the middle of its use."""

    def __init__(
        self, before_pack: Callable[[], None] = nothing, within_unpack: Callable[[], None] = nothing
    ) -> None:
        self._real: struct.Struct = snapshot._SEAL
        self._before_pack = before_pack
        self._within_unpack = within_unpack

    def pack_into(self, slot: memoryview, *cells: int) -> None:
        self._before_pack()
        self._real.pack_into(slot, *cells)

    def unpack_from(self, slot: memoryview) -> tuple[int, ...]:
        sequence = self._real.unpack_from(slot)[0]
        self._within_unpack()
        return sequence, *self._real.unpack_from(slot)[1:]


# --- encoding -------------------------------------------------------------------------------------


@unhurried
@given(snapshots)
def test_what_is_decoded_is_what_was_encoded(value: Snapshot) -> None:
    assert decode(encode(value)) == value


@unhurried
@given(services, st.sampled_from([None, 0.0, inf]))
def test_never_survives(service: ServiceView, drain_until: float | None) -> None:
    value = Snapshot(1, (changed(service, timeouts=Timeouts(*[inf] * 6), drain_until=drain_until),))
    assert decode(encode(value)) == value


@given(*[st.dictionaries(st.sampled_from("abcde"), st.integers(0, 1))] * 2)
def test_services_that_are_the_same_are_not_decoded_again(
    first: dict[str, int], second: dict[str, int]
) -> None:
    """They are the very objects of the last time, whatever else has changed; what is gone is forgotten."""
    known: dict[bytes, ServiceView] = {}
    before = {service.name: service for service in decode(encode(snapshot_of(first)), known).services}
    after = decode(encode(snapshot_of(second)), known)
    assert after == snapshot_of(second)
    for service in after.services:
        same = second[service.name] == first.get(service.name)
        assert (service is before.get(service.name)) == same
    assert list(known.values()) == list(after.services)


# --- publishing -----------------------------------------------------------------------------------


def test_nothing_is_read_before_something_is_published(memory: SharedMemory) -> None:
    assert read(memory) is None


@pytest.mark.parametrize("size_bytes", [0, 1, PAGE, LARGEST_BYTES])
def test_what_is_published_is_read(memory: SharedMemory, size_bytes: int) -> None:
    payload = b"x" * size_bytes
    word = SnapshotWriter(memory).publish(payload)
    assert read(memory) == (word, payload)


def test_a_snapshot_that_is_too_large_is_refused_and_the_old_one_stays(memory: SharedMemory) -> None:
    writer = SnapshotWriter(memory)
    word = writer.publish(b"old")
    with pytest.raises(ValueError, match=f"{LARGEST_BYTES + 1} bytes, a slot holds {LARGEST_BYTES}"):
        writer.publish(bytes(LARGEST_BYTES + 1))
    assert writer.word == word
    assert read(memory) == (word, b"old")


def test_the_sequence_only_grows_and_a_successor_goes_on(memory: SharedMemory) -> None:
    words = []
    for number in range(1, 3 * SLOTS):
        writer = SnapshotWriter(SharedMemory(memory.fd))
        words += [writer.publish(b"%d" % number), writer.publish(b"%d again" % number)]
        assert read(memory) == (writer.word, b"%d again" % number)
        assert writer.word == words[-1]
    assert [sequence_of(word) for word in words] == list(range(1, len(words) + 1))
    assert words == sorted(set(words))


@pytest.mark.parametrize("stored_cells", [0, 1])
def test_a_writer_that_is_killed_leaves_the_old_snapshot(
    memory: SharedMemory, monkeypatch: pytest.MonkeyPatch, stored_cells: int
) -> None:
    """Before it wrote anything, or after the payload, but before the seal; then a successor goes on."""
    word = SnapshotWriter(memory).publish(b"old")
    packs = iter(range(stored_cells))

    def die_in_time() -> None:
        if next(packs, None) is None:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_SEAL", Seal(before_pack=die_in_time))
        for _ in range(SLOTS + 1):
            with pytest.raises(Killed):
                SnapshotWriter(memory).publish(b"never seen")
    assert read(memory) == (word, b"old")
    successor = SnapshotWriter(memory)
    assert sequence_of(successor.publish(b"new")) == sequence_of(word) + 1
    assert read(memory) == (successor.word, b"new")


def test_whatever_a_killed_writer_left_in_the_other_slots_is_not_read(memory: SharedMemory) -> None:
    writer = SnapshotWriter(memory)
    word = writer.publish(b"old")
    for index in set(range(SLOTS)) - {word & 0xFF}:
        memory.slot(index)[: PAGE + 100] = b"\xff" * (PAGE + 100)
    assert read(memory) == (word, b"old")
    for number in range(2 * SLOTS):
        word = writer.publish(b"%d" % number)
        assert read(memory) == (word, b"%d" % number)


def test_a_reader_that_is_lapped_within_the_seal_begins_again(
    memory: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a writer that has only made the seal blank yet, which looks like one of an empty snapshot."""
    writer = SnapshotWriter(memory)
    index = writer.publish(b"old") & 0xFF

    def lap() -> None:
        if sequence_of(writer.word) == 1:
            for number in range(2, SLOTS + 1):
                writer.publish(b"%d" % number)
            memory.slot(index)[:24] = bytes(24)

    monkeypatch.setattr(snapshot, "_SEAL", Seal(within_unpack=lap))
    assert read(memory) == (writer.word, b"%d" % SLOTS)


def test_a_reader_that_is_lapped_between_seal_and_payload_gets_no_mixture(
    memory: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SnapshotWriter(memory)
    writer.publish(b"old")

    def lap() -> None:
        while sequence_of(writer.word) <= SLOTS:
            writer.publish(b"new")

    monkeypatch.setattr(snapshot, "_SEAL", Seal(within_unpack=lap))
    assert read(memory) == (writer.word, b"new")


# --- other processes ------------------------------------------------------------------------------


def test_no_reader_ever_sees_a_torn_snapshot(memory: SharedMemory, start: Start) -> None:
    """One writer as fast as it can, three readers as fast as they can, one that is lapped again and again."""
    largest_bytes, last = 256 * 1024, 20_000
    readers = [start("read", largest_bytes, last, fds=(memory.fd,)) for _ in range(3)]
    readers.append(start("read_slowly", largest_bytes, last, fds=(memory.fd,)))
    assert [said(reader) for reader in readers] == ["ready"] * 4
    finished(start("publish", largest_bytes, last, fds=(memory.fd,)))
    different = [int(finished(reader)) for reader in readers]
    assert min(different) > 1


def test_a_writer_that_is_killed_at_any_time_loses_nothing_that_was_published(
    memory: SharedMemory, start: Start
) -> None:
    largest_bytes, sequence = LARGEST_BYTES, 0
    for _ in range(4):
        writer = start("publish", largest_bytes, fds=(memory.fd,))
        assert said(writer) == str(sequence)
        while sequence_of(memory.word()[0]) < sequence + 10:
            assert writer.poll() is None
        writer.kill()
        writer.wait()
        current = read(memory)
        assert current
        word, payload = current
        assert word == memory.word()[0]
        assert sequence_of(word) >= sequence + 10
        sequence = sequence_of(word)
        assert payload == numbered_payload(sequence, largest_bytes)
