"""The supervisor's loop: sockets that have something to read, and timers.

A selector and a heap in one thread, so that the process can fork at any time, which asyncio would not
survive. Decides nothing: it calls whom it was told to call.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections.abc import Callable
from math import inf
from typing import Final

# The longest sleep, whatever a configured timeout says: what a selector can count.
LONGEST_S: Final = 3600.0


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0

    def watch(self, sock: socket.socket, action: Callable[[], None]) -> None:
        """Calls `action` whenever there is something to read, the end included."""
        self._selector.register(sock, selectors.EVENT_READ, action)

    def forget(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Calls `action` once; never, if `seconds` is infinite."""
        if seconds == inf:
            return
        self._timer_count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._timer_count, action))

    def turn(self) -> None:
        """Waits until something happens, and does all that is due then."""
        timeout = min(max(0.0, self._timers[0][0] - time.monotonic()), LONGEST_S) if self._timers else None
        for key, _ in self._selector.select(timeout):
            key.data()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
