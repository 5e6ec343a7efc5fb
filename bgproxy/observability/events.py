"""What has happened since the controller started, for those who follow it live.

The history in the state store is the record; this is the news. Each event is a line of the log, too. Ids grow for ever, also across a restart
of the controller, so that a follower can resume where it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

logger = logging.getLogger("bgproxy.events")

KEPT: Final = 1000
# A follower that is this many events behind is cut off; it resumes from what is kept.
BEHIND: Final = 500


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is a word such as `switch` or `health`, `text` a sentence, `data` the same for machines."""

    id: int
    time: float
    kind: str
    service: str | None
    text: str
    data: dict[str, Any] = field(default_factory=dict)


class EventLog:
    """`soon` runs a function when what is being done now is done: a slow log is not to hold up an answer."""

    def __init__(self, soon: Callable[[Callable[[], None]], object] = lambda write: write()) -> None:
        self._soon = soon
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._followers: set[asyncio.Queue[Event | None]] = set()
        self._last_id = 0

    def add(
        self, kind: str, text: str, *, service: str | None = None, level: int = logging.INFO, **data: Any
    ) -> Event:
        """`level` is that of its line of the log."""
        now = time.time()
        self._last_id = max(self._last_id + 1, int(now * 1_000_000))
        event = Event(self._last_id, now, kind, service, text, data)
        self._events.append(event)
        self._soon(lambda: logger.log(level, "%s: %s", kind, text))
        for follower in list(self._followers):
            if follower.qsize() < BEHIND:
                follower.put_nowait(event)
            else:
                self._followers.discard(follower)
                follower.put_nowait(None)
        return event

    def since(self, after_id: int) -> list[Event]:
        """The events kept that came after `after_id`, oldest first."""
        return [event for event in self._events if event.id > after_id]

    async def follow(self, after_id: int | None = None) -> AsyncGenerator[Event]:
        """Those that came after `after_id` (None: none of them), then each as it happens."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        kept = [] if after_id is None else self.since(after_id)
        self._followers.add(queue)
        try:
            for event in kept:
                yield event
            while (new := await queue.get()) is not None:
                yield new
        finally:
            self._followers.discard(queue)

    def close(self) -> None:
        """Ends every follower."""
        for follower in self._followers:
            follower.put_nowait(None)
        self._followers.clear()
