"""How numbers, times and foreign text read on a terminal. Pure: the clock is a parameter."""

from __future__ import annotations

from datetime import UTC, datetime

NOTHING = "–"  # noqa: RUF001 - the dash that a table cell without a value has


def printable(value: object) -> str:
    """Text from elsewhere may not move the cursor, change colours or start a new line."""
    return "".join(character if character.isprintable() else "�" for character in str(value))


def count(number: int, noun: str = "") -> str:
    """`1,234`, `1 request`, `1,234 requests`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".rstrip() if noun else f"{number:,}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


def percent(share: float | None) -> str:
    """`share` is of one. Never rounds something to nothing, nor nearly all to all."""
    if share is None:
        return NOTHING
    value = share * 100
    if 0 < value < 0.01:
        return "< 0.01 %"
    if 99.99 < value < 100:
        return "> 99.99 %"
    return f"{value:.2f}".rstrip("0").rstrip(".") + " %"


def span(seconds: float) -> str:
    """A length of time in its largest unit: `8 s`, `3 min`, `5 h`, `2 d`."""
    seconds = max(seconds, 0)
    for unit, unit_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(unix: float) -> str:
    """The time of day, where the operator sits."""
    return datetime.fromtimestamp(unix, UTC).astimezone().strftime("%H:%M:%S")


def moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def bar(share: float, cells: int) -> str:
    """At least one cell for anything above nothing, and never all of them for less than all."""
    full = round(share * cells)
    if share > 0:
        full = max(full, 1)
    if share < 1:
        full = min(full, cells - 1)
    return "█" * full + "░" * (cells - full)
