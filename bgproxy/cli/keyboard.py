"""The key that leaves a screen: `q`, read without Enter and without echo. Restores the terminal in any case."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

LEAVE = b"qQ"
READ_BYTES = 64


class Keyboard:
    def __init__(self, terminal: int | None) -> None:
        self._terminal = terminal

    def left_within(self, seconds: float) -> bool:
        """Waits that long, or until the operator wants to leave."""
        end = time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            if self._terminal is None:
                time.sleep(remaining)
            elif select.select([self._terminal], [], [], remaining)[0]:
                keys = os.read(self._terminal, READ_BYTES)
                if not keys or any(key in LEAVE for key in keys):
                    return True
        return False


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """Without a terminal there are no keys, only the waiting."""
    if not sys.stdin.isatty():
        yield Keyboard(None)
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield Keyboard(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
