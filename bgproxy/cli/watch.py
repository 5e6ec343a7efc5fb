"""The screen that an operator keeps open during a release: the status, read again every second.

Goes on with the last status while the admin API is away, and says so. Never changes anything.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.text import Text

from bgproxy.cli import lines
from bgproxy.cli.failure import Failure
from bgproxy.cli.rates import Key, Rate, rates
from bgproxy.cli.status_view import status_view
from bgproxy.cli.wording import clock, printable

if TYPE_CHECKING:
    from rich.console import Console

    from bgproxy.cli.client import Client

REFRESH_S = 1.0
EVENTS_SHOWN = 6

Leaves = Callable[[float], bool]
"""Waits that many seconds, or until the operator wants to leave: then it says True."""


class Watch:
    """What was read last, and what can be said from it."""

    def __init__(self, client: Client, service: str | None = None) -> None:
        self._client = client
        self._service = service
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_SHOWN)
        self._last_event: str | None = None
        self._read_at = 0.0
        self._rates: Mapping[Key, Rate] = {}
        self.away: tuple[float, Failure] | None = None
        self.status: dict[str, Any] | None = None

    def read(self) -> None:
        """The very first failure is raised: it is more likely a wrong address than a restart."""
        try:
            self._read()
        except Failure as failure:
            if self.status is None or not failure.passing:
                raise
            self.away = (self.away[0] if self.away else time.time(), failure)
            self._rates = {}
        else:
            self.away = None

    def frame(self, now: float) -> RenderableType:
        return Group(self._status(now), Text(), self._recent())

    def screen(self, now: float) -> RenderableType:
        """The same on a full screen, where the events stay at the bottom however many services there are."""
        layout = Layout()
        layout.split_column(
            Layout(self._status(now), name="status"),
            Layout(self._recent("events (q leaves)"), name="events", size=EVENTS_SHOWN + 1),
        )
        return layout

    # Private

    def _read(self) -> None:
        status = self._client.status(self._service)
        read_at = time.monotonic()
        earlier, self.status = self.status, status
        if earlier is not None:
            self._rates = rates(earlier, status, read_at - self._read_at)
        self._read_at = read_at
        for event in self._client.events(follow=False, after=self._last_event):
            self._last_event = event.id
            self._events.append(event.data)

    def _status(self, now: float) -> RenderableType:
        parts: list[RenderableType] = [self._head(now)]
        if self.status is not None:
            parts.append(status_view(self.status, now, self._rates))
        return Group(*parts)

    def _head(self, now: float) -> Text:
        line = Text(clock(now), style="bold")
        if self.away is None:
            return line
        since, failure = self.away
        line.append(f"   admin API away since {clock(since)} ({printable(failure)})", style="bold red")
        return line.append(": traffic goes on without it, trying again every second", style="red")

    def _recent(self, title: str = "events") -> Text:
        text = Text(title, style="dim")
        for event in self._events:
            text.append("\n").append_text(Text.from_ansi(lines.event(event)))
        return text


def show(watch: Watch, console: Console, leaves: Leaves, refresh_s: float = REFRESH_S) -> None:
    """A live screen on a terminal, otherwise one frame after the other."""
    if not console.is_terminal:
        while True:
            console.print(watch.frame(time.time()), Text())
            if leaves(refresh_s):
                return
            watch.read()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(watch.screen(time.time()), refresh=True)
            if leaves(refresh_s):
                return
            watch.read()


def stream(watch: Watch, put: Callable[[dict[str, Any]], None]) -> None:
    """Every status that was read, and nothing while none can be read."""
    while True:
        if watch.status is not None and watch.away is None:
            put(watch.status)
        time.sleep(REFRESH_S)
        watch.read()
