"""The screen that an operator keeps open during a release: the status, read again every second.

Keeps the last status while the admin API is away, and marks it as old: what is since, nobody can tell. Never
changes anything.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.styled import Styled
from rich.text import Text

from bgproxy.cli import lines
from bgproxy.cli.failure import Failure
from bgproxy.cli.rates import Key, Rate, rates
from bgproxy.cli.status_view import status_view
from bgproxy.cli.wording import clock, count, printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

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
        self._read_at = 0.0  # monotonic
        self._as_of = 0.0  # the same moment, on the clock
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
        return Group(self._status(now), Text(), *self._recent())

    def screen(self, now: float) -> RenderableType:
        """The same on a full screen, where the events stay at the bottom, if there is room for them."""
        services = len(self.status["services"]) if self.status is not None else 0
        hint = "make the window taller" + (", or name one service" if services > 1 else "")
        return Screen(self._status(now, "   q leaves"), self._recent(), hint)

    # Private

    def _read(self) -> None:
        status = self._client.status(self._service)
        read_at, self._as_of = time.monotonic(), time.time()
        earlier, self.status = self.status, status
        if earlier is not None:
            self._rates = rates(earlier, status, read_at - self._read_at)
        self._read_at = read_at
        for event in self._client.events(follow=False, after=self._last_event):
            self._last_event = event.id
            self._events.append(event.data)

    def _status(self, now: float, hint: str = "") -> RenderableType:
        head = Text(clock(now), style="bold").append(hint, style="dim")
        if self.status is None:
            return head
        if self.away is None:
            return Group(head, status_view(self.status, now, self._rates))
        since, failure = self.away
        head.append(f"   admin API away since {clock(since)} ({printable(failure)})", style="bold red")
        head.append(", trying again every second", style="red")
        old = Text(f"OLD, as of {clock(self._as_of)}: what is now is not known", style="bold red")
        # Nothing in it may move on: it is as it was then.
        return Group(head, old, Styled(status_view(self.status, self._as_of, self._rates), "dim"))

    def _recent(self) -> list[Text]:
        return [Text("events", style="dim"), *(Text.from_ansi(lines.event(event)) for event in self._events)]


class Screen:
    """The status, and the newest events below it in what room it leaves."""

    def __init__(self, status: RenderableType, recent: list[Text], hint: str) -> None:
        self._status = status
        self._title, *self._events = recent
        self._hint = hint  # what helps if there is not room enough

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height, options = options.height or options.max_height, options.reset_height()
        status = console.render_lines(self._status, options)
        if len(status) > height:
            status = [line for line in status if any(segment.text.strip() for segment in line)]
        if len(status) > height:
            cut = count(len(status) - height + 1, "more line")
            sign = Text(f"… {cut}: {self._hint}", style="yellow", no_wrap=True, overflow="ellipsis")
            status[height - 1 :] = console.render_lines(sign, options)
        recent = self._newest(console, options, height - len(status) - 1)
        padding = [[Segment("")] for _ in range(height - len(status) - len(recent))]
        for line in (*status, *padding, *recent):
            yield from line
            yield Segment.line()

    def _newest(self, console: Console, options: ConsoleOptions, room: int) -> list[list[Segment]]:
        """Their lines, below a title; none if there is not room for one event."""
        shown: list[list[Segment]] = []
        for event in reversed(self._events):
            event_lines = console.render_lines(event, options)
            if len(shown) + len(event_lines) > room:
                break
            shown = event_lines + shown
        return [*console.render_lines(self._title, options), *shown] if shown else []


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
