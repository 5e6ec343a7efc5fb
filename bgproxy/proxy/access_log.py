"""The access log of one worker: lines are made on the loop, and written by a thread.

The loop never waits for a disk or for the reader of a pipe: what they do not take in time is dropped, counted and
told. A line never costs a request. The thread leaves the interpreter to the loop: it joins and writes what is made.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Final

from bgproxy.model import KIB
from bgproxy.model import AccessLog as Settings
from bgproxy.observability import access
from bgproxy.observability.access import Entry
from bgproxy.observability.line_file import LineFile
from bgproxy.shared_memory.counters import LOG_DROPPED

logger = logging.getLogger("bgproxy.worker")

# Lines are written after this time, or when there are so many.
BATCH_S: Final = 0.25
BATCH_LINES: Final = 1000
# What may wait to be written, in the memory that it takes; a line takes so much besides its bytes.
BACKLOG_BYTES: Final = 16 * 1024 * KIB
LINE_BYTES: Final = 64
# How often it is said that lines are lost.
LOSS_SAID_S: Final = 10.0
# How long the end of a worker may wait for its last lines; the supervisor waits longer before it kills.
FINAL_FLUSH_S: Final = 1.0
# The thread calls nothing deep. The usual 8 MiB may be backed by a huge page of 2 MiB.
STACK_BYTES: Final = 256 * KIB


class AccessLog:
    """`wants` is asked at the end of each request, and `add` is called if it says so, with a line made by `form`. All
    on the loop.

    `cells` are those of the worker's block, where lines that are lost are counted.
    """

    def __init__(self, settings: Settings, cells: memoryview[int]) -> None:
        self.wants: access.Wants = access.rule(settings)
        self.form: access.Format = access.FORMATS[settings.format]
        self._loop = asyncio.get_running_loop()
        self._cells = cells
        self._dropped_before = cells[LOG_DROPPED]  # by workers that had the block before
        # written by the loop
        self._lines: list[bytes] = []
        self._noted_bytes = 0  # ever
        self._dropped = 0
        self._said = (0, 0)  # of what was dropped and lost
        self._silent_until = 0.0
        # written by the thread
        self._settled_bytes = 0  # of those ever noted
        self._lost = 0
        self._file = LineFile(settings.path)
        try:
            self._file.open()
        except OSError as error:
            logger.error("access log: %s; requests are served without it", error)  # noqa: TRY400 - says it all
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = _started(self._run)
        self._timer = self._loop.call_later(BATCH_S, self._tick)

    @property
    def dropped(self) -> int:
        """How many lines are lost, since the worker began."""
        return self._dropped + self._lost

    def add(self, line: bytes) -> None:
        """Takes the line of a request that has ended."""
        if self._noted_bytes - self._settled_bytes > BACKLOG_BYTES:
            self._dropped += 1
            return
        self._noted_bytes += LINE_BYTES + len(line)
        self._lines.append(line)
        if len(self._lines) >= BATCH_LINES:
            self._hand_over()

    def tell(self, entry: Entry) -> None:
        """As `add`, of what has no parts that are kept."""
        self.add(access.line_of(entry, self.form))

    def reopen(self) -> None:
        """From the next request on, lines go to the file that has the name then."""
        self._hand_over()
        self._jobs.put(self._open_again)

    def close(self) -> None:
        """Writes what was noted, and waits for it up to `FINAL_FLUSH_S`."""
        self._timer.cancel()
        self._hand_over()
        self._jobs.put(None)
        self._thread.join(FINAL_FLUSH_S)
        if self._thread.is_alive():
            logger.warning("access log %s: the last lines are not written: it is stuck", self._file.path)
        self._silent_until = 0.0
        self._tell_losses()

    # Private: on the loop

    def _tick(self) -> None:
        self._timer = self._loop.call_later(BATCH_S, self._tick)
        self._hand_over()
        self._tell_losses()

    def _hand_over(self) -> None:
        lines = self._lines
        if lines:
            self._lines = []
            self._jobs.put(partial(self._write, lines, self._noted_bytes))

    def _tell_losses(self) -> None:
        now, before, dropped, lost = time.monotonic(), self._said, self._dropped, self._lost
        self._cells[LOG_DROPPED] = self._dropped_before + dropped + lost
        if (dropped, lost) == before or now < self._silent_until:
            return
        if dropped > before[0]:
            self._tell_loss(dropped - before[0], "it takes lines more slowly than requests end")
        if lost > before[1]:
            trouble = self._file.trouble
            self._tell_loss(lost - before[1], (trouble and trouble.strerror) or "unknown")
        self._said = (dropped, lost)
        self._silent_until = now + LOSS_SAID_S

    def _tell_loss(self, lines: int, reason: str) -> None:
        logger.warning("access log %s: lines lost: %d (%s)", self._file.path, lines, reason)

    # Private: in the thread

    def _run(self) -> None:
        for job in iter(self._jobs.get, None):
            job()
        self._file.close()

    def _write(self, lines: list[bytes], noted_bytes: int) -> None:
        self._lost += self._file.append(lines)
        self._settled_bytes = noted_bytes

    def _open_again(self) -> None:
        try:
            self._file.open()
        except OSError as error:
            logger.error("access log: %s; the file that is open is kept", error)  # noqa: TRY400 - says it all


def _started(run: Callable[[], None]) -> threading.Thread:
    """A thread that does not keep the process from ending."""
    before = threading.stack_size(STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name="access-log", daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    return thread
