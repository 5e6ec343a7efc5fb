"""The signals that the supervisor obeys: how they reach its loop, and how they outlive an upgrade.

A signal is a byte in a socket here, so nothing ever happens between two lines of code. What one means is the
business of `supervisor`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Final

SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2),
)


class Signals:
    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair()
        self.reader.setblocking(False)
        self.writer.setblocking(False)

    def receive(self) -> None:
        """From here on; also those that a predecessor has kept for us."""
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        self._unblock()

    def take(self) -> set[int]:
        """Those that have come since; none twice."""
        with contextlib.suppress(BlockingIOError):
            return set(self.reader.recv(4096))
        return set()

    def keep(self) -> None:
        """Until a successor is ready for them, signals wait; those that nobody has looked at are sent again."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        signal.set_wakeup_fd(-1)
        for number in self.take():
            os.kill(os.getpid(), number)

    def resume(self) -> None:
        """There was no successor: those that were kept come to us."""
        self._unblock()

    # Private

    def _unblock(self) -> None:
        signal.set_wakeup_fd(self.writer.fileno())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
