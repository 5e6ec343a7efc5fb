"""Where everything lies in the shared memory, and how to make, map and recognise it.

    header  (1 page)   magic, layout version, THE WORD
    blocks  (BLOCKS)   one per worker, which alone writes it: its header, then one record per service
                       and per upstream, then the connections of clients
    slots   (SLOTS)    snapshots, which the controller alone writes
    mirrors (BLOCKS)   one per worker, which alone writes it: what its mirrored requests have shown

All cells are native, aligned, unsigned 64-bit. CPython stores one through a cast memoryview with a single
eight-byte move, and no 64-bit platform that it runs on tears an aligned one. The file is sparse: what
nobody uses takes no memory.
"""

from __future__ import annotations

import mmap
import os
import secrets
import tempfile
from typing import Final

PAGE: Final = 4096

MAGIC: Final = 0x42_47_50_52_4F_58_59_00  # "BGPROXY"
VERSION: Final = 2
MAGIC_CELL: Final = 0
VERSION_CELL: Final = 1
SALT_CELL: Final = 2  # random, for hashes whose collisions nobody outside is to choose
WORD_CELL: Final = 8  # alone in its cache line
COUNTING_CELL: Final = 128  # one for each block, whose worker alone writes it: set if its clients are counted

BLOCKS: Final = 128  # workers that can exist at once, draining ones included
RECORDS: Final = 8192  # services and upstreams that can exist at once
RECORD_CELLS: Final = 64
BLOCK_HEADER_CELLS: Final = PAGE // 8
CLIENTS_CELL: Final = BLOCK_HEADER_CELLS + RECORDS * RECORD_CELLS
CLIENT_CELLS: Final = 65536  # clients that one worker can count the connections of
BLOCK_BYTES: Final = (CLIENTS_CELL + CLIENT_CELLS) * 8

SLOTS: Final = 4
SLOT_BYTES: Final = 8 * 1024 * 1024  # the largest snapshot that fits, its header of one page included

BLOCKS_OFFSET: Final = PAGE
MIRROR_TALLY_CELLS: Final = 16
MIRROR_SAMPLES: Final = 1024  # latencies of both sides that one worker keeps
MIRROR_SAMPLE_CELLS: Final = 2
MIRROR_DIFFERENCES: Final = 128  # that one worker keeps
MIRROR_DIFFERENCE_BYTES: Final = 2048  # its seal included
MIRROR_BYTES: Final = (
    PAGE
    + RECORDS * MIRROR_TALLY_CELLS * 8
    + MIRROR_SAMPLES * MIRROR_SAMPLE_CELLS * 8
    + MIRROR_DIFFERENCES * MIRROR_DIFFERENCE_BYTES
)

SLOTS_OFFSET: Final = BLOCKS_OFFSET + BLOCKS * BLOCK_BYTES
MIRRORS_OFFSET: Final = SLOTS_OFFSET + SLOTS * SLOT_BYTES
SIZE: Final = MIRRORS_OFFSET + BLOCKS * MIRROR_BYTES


class SharedMemory:
    """One mapping of the memory file. `fd` stays open, so that it can be handed to children."""

    def __init__(self, fd: int) -> None:
        if os.fstat(fd).st_size != SIZE:
            raise ValueError(f"shared memory has {os.fstat(fd).st_size} bytes, this version needs {SIZE}")
        self.fd = fd
        self._map = mmap.mmap(fd, SIZE)
        self.bytes = memoryview(self._map)
        self.cells = self.bytes.cast("Q")
        if self.cells[MAGIC_CELL] != MAGIC or self.cells[VERSION_CELL] != VERSION:
            raise ValueError(f"shared memory is not of layout version {VERSION}")

    @classmethod
    def create(cls) -> SharedMemory:
        """A new memory without a name in any file system, gone with its last user."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("bgproxy")
        else:
            with tempfile.TemporaryFile(prefix="bgproxy") as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, SIZE)
        with mmap.mmap(fd, PAGE) as header, memoryview(header) as page, page.cast("Q") as cells:
            cells[VERSION_CELL] = VERSION
            cells[SALT_CELL] = secrets.randbits(64)
            cells[MAGIC_CELL] = MAGIC
        return cls(fd)

    def block(self, index: int) -> memoryview[int]:
        """The cells of one worker's block."""
        if not 0 <= index < BLOCKS:
            raise ValueError(f"there are blocks 0 to {BLOCKS - 1}, not {index}")
        start = (BLOCKS_OFFSET + index * BLOCK_BYTES) // 8
        return self.cells[start : start + BLOCK_BYTES // 8]

    def slot(self, index: int) -> memoryview:
        """The bytes of one snapshot slot."""
        start = SLOTS_OFFSET + index * SLOT_BYTES
        return self.bytes[start : start + SLOT_BYTES]

    def mirror(self, index: int) -> memoryview:
        """The bytes of one worker's mirror."""
        start = MIRRORS_OFFSET + index * MIRROR_BYTES
        return self.bytes[start : start + MIRROR_BYTES]

    def word(self) -> memoryview[int]:
        """The one word, as a view of a single cell."""
        return self.cells[WORD_CELL : WORD_CELL + 1]
