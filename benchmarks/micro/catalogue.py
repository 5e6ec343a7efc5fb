"""All parts, in the order in which they are shown."""

from __future__ import annotations

from typing import Final

from benchmarks.micro import choices, exchanges, heads
from benchmarks.micro.part import Part

PARTS: Final[tuple[Part, ...]] = (*exchanges.PARTS, *heads.PARTS, *choices.PARTS)
