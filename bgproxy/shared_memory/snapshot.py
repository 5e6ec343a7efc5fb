"""Publishing a snapshot so that every worker obeys it from its next request on, without a lock.

The controller writes into a slot that the word does not point to, seals it, and then stores the word:
sequence number and slot in one aligned eight-byte cell. A worker that finds another word than the one it
knows copies the slot out and checks the seal. If the controller has lapped it meanwhile, the seal does
not fit and the worker starts again from the new word, so it never sees a torn snapshot (the idea of a
seqlock, with a checksum instead of memory barriers, which Python does not have).

The *sequence* counts what was published in this memory, health changes included. The *generation* inside
a snapshot counts the operators' changes, and outlives the memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from bgproxy.model import ServiceView, Snapshot
from bgproxy.shared_memory.layout import PAGE, SLOT_BYTES, SLOTS, SharedMemory

_SLOT_BITS: Final = 8
_SEAL: Final = struct.Struct("=QQQ")  # sequence, length, checksum
_SECTION: Final = struct.Struct("=QI")  # generation, number of sections
_LENGTH: Final = struct.Struct("=I")
# MessagePack has infinity, which is "never" here; JSON has not.
_SECTION_ENCODER: Final = msgspec.msgpack.Encoder()
_SECTION_DECODER: Final = msgspec.msgpack.Decoder(ServiceView)


def sequence_of(word: int) -> int:
    return word >> _SLOT_BITS


class SnapshotWriter:
    """The controller's side. There is one writer; a successor goes on where the last one stopped."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._word = memory.word()

    @property
    def word(self) -> int:
        return self._word[0]

    def publish(self, payload: bytes) -> int:
        """Makes `payload` the current snapshot and returns its word. Raises ValueError if it is too large."""
        if len(payload) > SLOT_BYTES - PAGE:
            raise ValueError(f"the snapshot has {len(payload)} bytes, a slot holds {SLOT_BYTES - PAGE}")
        current = self._word[0]
        sequence = sequence_of(current) + 1
        index = ((current & ((1 << _SLOT_BITS) - 1)) + 1) % SLOTS
        with self._memory.slot(index) as slot:
            _SEAL.pack_into(slot, 0, 0, 0, 0)
            slot[PAGE : PAGE + len(payload)] = payload
            _SEAL.pack_into(slot, 0, sequence, len(payload), _checksum(sequence, payload))
        word = sequence << _SLOT_BITS | index
        self._word[0] = word
        return word


def read(memory: SharedMemory) -> tuple[int, bytes] | None:
    """The current (word, payload), whole; None if nothing was published yet."""
    cell = memory.word()
    while word := cell[0]:
        with memory.slot(word & ((1 << _SLOT_BITS) - 1)) as slot:
            sequence, length, checksum = _SEAL.unpack_from(slot)
            if sequence != sequence_of(word) or length > SLOT_BYTES - PAGE:
                continue
            payload = bytes(slot[PAGE : PAGE + length])
        if _checksum(sequence, payload) == checksum:
            return word, payload
    return None


def encode(snapshot: Snapshot) -> bytes:
    """One section per service, so that a reader can keep what it has of the services that are the same."""
    return join(snapshot.generation, [section_of(service) for service in snapshot.services])


def section_of(service: ServiceView) -> bytes:
    return _SECTION_ENCODER.encode(service)


def join(generation: int, sections: Sequence[bytes]) -> bytes:
    """A payload of sections."""
    head = _SECTION.pack(generation, len(sections))
    return head + b"".join(_LENGTH.pack(len(section)) + section for section in sections)


def decode(payload: bytes, known: dict[bytes, ServiceView] | None = None) -> Snapshot:
    """The inverse of `encode`. `known` maps sections to services; it is updated to those of `payload`."""
    generation, count = _SECTION.unpack_from(payload)
    position = _SECTION.size
    services: dict[bytes, ServiceView] = {}
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(payload, position)
        position += _LENGTH.size
        section = payload[position : position + length]
        position += length
        view = None if known is None else known.get(section)
        services[section] = view or _SECTION_DECODER.decode(section)
    if known is not None:
        known.clear()
        known.update(services)
    return Snapshot(generation, tuple(services.values()))


# Private


def _checksum(sequence: int, payload: bytes) -> int:
    """CRC-32, begun with the sequence: a seal that was read in parts of two never fits, nor does a blank one."""
    return zlib.crc32(payload, sequence)
