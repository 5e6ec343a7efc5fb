"""Durations, sizes and percentages as people write them, and durations written back.

Owns the units. Never guesses one: a number without a unit is an error, not seconds.
"""

from __future__ import annotations

import re
from math import inf, isinf

NEVER = "never"
DURATION_PATTERN = r"[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)"
SIZE_PATTERN = r"[0-9]{1,15}(B|KiB|MiB|GiB)?"
PERCENT_PATTERN = r"[0-9]{1,3}(\.[0-9]{1,9})?%"

_DURATION = re.compile(DURATION_PATTERN)
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)?")
_PERCENT = re.compile(PERCENT_PATTERN)
_UNIT_MS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_UNIT_BYTES = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_duration(text: str) -> float:
    """Seconds; `inf` for `never`."""
    if text == NEVER:
        return inf
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not a duration: write a number and a unit, such as 250ms, 2s, 5m or 1h, or never"
        )
    unit = found[2]
    return float(text.removesuffix(unit)) * _UNIT_MS[unit] / 1000


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` turns back into `seconds`, to the millisecond."""
    if isinf(seconds):
        return NEVER
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit = next(unit for unit, size_ms in _UNIT_MS.items() if milliseconds % size_ms == 0)
    return f"{milliseconds // _UNIT_MS[unit]}{unit}"


def parse_size(text: str) -> int:
    """Bytes."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not a size: write bytes, or a whole number with KiB, MiB or GiB, such as 64KiB"
        )
    return int(found[1]) * _UNIT_BYTES[found[2]]


def format_size(size_bytes: int) -> str:
    """The shortest text that `parse_size` turns back into `size_bytes`."""
    if size_bytes == 0:
        return "0B"
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if size_bytes % _UNIT_BYTES[unit] == 0)
    return f"{size_bytes // _UNIT_BYTES[unit]}{unit}"


def parse_percent(text: str) -> float:
    """A share of one: `20%` is 0.2."""
    percent = float(text[:-1]) if _PERCENT.fullmatch(text) else inf
    if percent > 100:
        raise ValueError(f"{text!r} is not a percentage: write a number from 0% to 100%, such as 20%")
    return percent / 100


def format_percent(share: float) -> str:
    return f"{share * 100:.9g}%"
