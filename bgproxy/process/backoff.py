"""How soon a child that has died is started again: at once, or, if it dies young again, after ever longer pauses."""

from __future__ import annotations

from typing import Final

PAUSES_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
LONGEST_PAUSE_S: Final = PAUSES_S[-1]
YOUNG_S: Final = 10.0


def young_deaths(before: int, lived_s: float) -> int:
    """How many have died young in a row, with the one that has lived this long."""
    return before + 1 if lived_s < YOUNG_S else 0


def pause_s(deaths: int) -> float:
    return PAUSES_S[min(deaths, len(PAUSES_S) - 1)]
