"""What the demonstration shows: steps as lines, and below them, on a terminal, what happens at this moment.

It must never compute a verdict, only render what it is given.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

LABEL_COLUMNS: Final = 9
BAR_COLUMNS: Final = 10
REFRESH_HZ: Final = 4
STYLES: Final = {"v1": "bold blue", "v2": "bold green"}


class Display:
    """A context manager. On anything but a terminal it prints plain lines and no live status."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(highlight=False, soft_wrap=True) if console is None else console
        self._live = Live(console=self._console, refresh_per_second=REFRESH_HZ, transient=True)
        self._step = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._live.stop()

    def title(self, text: str) -> None:
        self._print(Text(text, "bold"))

    def step(self, title: str, *by_hand: str) -> None:
        """Opens the next step: what is done now, and how a person would do it."""
        self._step += 1
        self._print(Text(f"\n{self._step}. {title}", "bold"))
        for command in by_hand:
            self._line("by hand", Text(command, "dim"))

    def saw(self, text: str, *, good: bool = True) -> None:
        """An observation, as expected or not."""
        self._line("seen" if good else "WRONG", Text(text, "" if good else "bold red"))

    def status(self, *, answered: int, per_second: float, shares: dict[str, float], errors: int) -> None:
        """The live line: the load as its clients see it."""
        if not self._console.is_terminal:
            return
        line = Text.assemble(f"   {answered:,} answered · {per_second:,.0f}/s")
        for version, share in sorted(shares.items()):
            filled = round(share * BAR_COLUMNS)
            line.append(" · ")
            line.append(
                f"{version} {'█' * filled}{'░' * (BAR_COLUMNS - filled)} {share:4.0%}",
                STYLES.get(version, ""),
            )
        line.append(f" · {errors} failed", "bold red" if errors else "dim")
        self._live.update(line)

    def summary(self, rows: list[tuple[str, str]], verdict: str, *, good: bool) -> None:
        """The end: the numbers and one sentence."""
        self._live.stop()
        width = max(len(label) for label, _ in rows)
        self._print(Text())
        for label, value in rows:
            self._print(Text.assemble("   ", (label.ljust(width), "dim"), "   ", value))
        self._print(Text(f"\n{verdict}", "bold green" if good else "bold red"))

    def error(self, text: str) -> None:
        self._live.stop()
        self._print(Text(f"\n{text}", "bold red"))

    # Private

    def _line(self, label: str, text: Text) -> None:
        self._print(Text.assemble("   ", (label.ljust(LABEL_COLUMNS), "dim"), text))

    def _print(self, text: Text) -> None:
        self._console.print(text)
