"""The thread on which a store waits for its disk, so that the event loop never does.

Does one piece of work after the other, in the order in which they were asked for. Handing over is what an acknowledged change
waits for beside the disk, so nothing lies in between but a queue: an executor of the standard library takes twice as long. It must
never leave out a piece of work because nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

_END: Final = None


class DiskThread:
    def __init__(self, name: str) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        # A daemon: what it has not finished when the process ends is like what a power loss breaks off.
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What becomes of `work`, for the loop that runs now. Cancelling it does not stop the work."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.put((work, future))
        return future

    def end(self) -> None:
        """After all that was asked for so far."""
        self._asked.put(_END)

    # Private, on the thread

    def _serve(self) -> None:
        while (asked := self._asked.get()) is not _END:
            work, future = asked
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - it is for whoever waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            del asked, work, future, result, error  # nothing is kept until the next work comes


# Private


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
