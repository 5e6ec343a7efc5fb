"""Waking a process that sleeps in its event loop: the bell that goes with the shared memory.

A bell carries nothing but "look": what there is to see lies in the memory. Rings before a look are one
ring. Every process inherits the same bells, so they outlive all of them but the supervisor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final

_READ_BYTES: Final = 4096


class Bell:
    """An eventfd, or a pipe where there is none."""

    __slots__ = ("_read_fd", "_write_fd")

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        if fds is None:
            fds = _new()
        self._read_fd, self._write_fd = fds

    @property
    def fds(self) -> tuple[int, int]:
        """The descriptors to hand over to another program: (to wait on, to ring)."""
        return self._read_fd, self._write_fd

    def fileno(self) -> int:
        """What an event loop waits on."""
        return self._read_fd

    def ring(self) -> None:
        try:
            os.write(self._write_fd, (1).to_bytes(8, sys.byteorder))
        except BlockingIOError:
            return  # full: it has been ringing for a long time, which is all that there is to say

    def silence(self) -> None:
        """To be called before looking, so that no ring is lost."""
        try:
            while len(os.read(self._read_fd, _READ_BYTES)) == _READ_BYTES:
                pass  # a pipe keeps every ring
        except BlockingIOError:
            return  # somebody else has taken the ring


def ring_all(bells: Iterable[Bell]) -> None:
    for bell in bells:
        bell.ring()


def _new() -> tuple[int, int]:
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    return read_fd, write_fd
