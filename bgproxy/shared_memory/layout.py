"""Where everything lies in the shared memory, and how to make, map and recognise it.

    header  (1 page)   magic, layout version, THE WORD
    blocks  (BLOCKS)   one per worker, which alone writes it: its header, then one record per service
                       and per upstream
    slots   (SLOTS)    snapshots, which the controller alone writes

All cells are native, aligned, unsigned 64-bit. CPython stores one through a cast memoryview with a single
eight-byte move, and no 64-bit platform that it runs on tears an aligned one. The file is sparse: what
nobody uses takes no memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

PAGE: Final = 4096

MAGIC: Final = 0x42_47_50_52_4F_58_59_00  # "BGPROXY"
VERSION: Final = 2
MAGIC_CELL: Final = 0
VERSION_CELL: Final = 1
WORD_CELL: Final = 8  # alone in its cache line

BLOCKS: Final = 128  # workers that can exist at once, draining ones included
RECORDS: Final = 8192  # services and upstreams that can exist at once
RECORD_CELLS: Final = 64
BLOCK_HEADER_CELLS: Final = PAGE // 8
BLOCK_BYTES: Final = PAGE + RECORDS * RECORD_CELLS * 8

SLOTS: Final = 4
SLOT_BYTES: Final = 8 * 1024 * 1024  # the largest snapshot that fits, its header of one page included

BLOCKS_OFFSET: Final = PAGE
SLOTS_OFFSET: Final = BLOCKS_OFFSET + BLOCKS * BLOCK_BYTES
SIZE: Final = SLOTS_OFFSET + SLOTS * SLOT_BYTES


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

    def word(self) -> memoryview[int]:
        """The one word, as a view of a single cell."""
        return self.cells[WORD_CELL : WORD_CELL + 1]
