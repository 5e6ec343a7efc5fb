"""The thread on which a store waits for its disk, so that the event loop never does.

Does one piece of work after the other, in the order in which they were asked for. Handing over is what an acknowledged change
waits for beside the disk, so it is a byte in a pipe: the kernel takes that as a hint that the writer is about to sleep, and lets
the reader run in its place; a lock, such as a queue or an executor has, leaves the thread to wait for a core of its own. It must never
leave out a piece of work because nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

_ONE: Final = b"1"
_CLOSED: Final = -1


class DiskThread:
    def __init__(self, name: str) -> None:
        self._asked: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        read_fd, self._write_fd = os.pipe()  # holds 65,536: more than there can be callers
        # A daemon: what it has not finished when the process ends is like what a power loss breaks off.
        threading.Thread(target=self._serve, args=(read_fd,), name=name, daemon=True).start()

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What becomes of `work`, for the loop that runs now. Cancelling it does not stop the work."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.append((work, future))
        os.write(self._write_fd, _ONE)
        return future

    def end(self) -> None:
        """After all that was asked for so far; nothing may be asked for any more."""
        os.close(self._write_fd)
        self._write_fd = _CLOSED

    # Private, on the thread

    def _serve(self, read_fd: int) -> None:
        while os.read(read_fd, len(_ONE)):
            work, future = self._asked.popleft()
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - it is for whoever waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            del work, future, result, error  # nothing is kept until the next work comes
        os.close(read_fd)


# Private


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
