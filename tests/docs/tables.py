"""Tables of a page, found by the heading that they stand below."""

from __future__ import annotations

import re
from pathlib import Path

EXPLANATION = Path(__file__).parents[2] / "docs" / "explanation"

_QUOTED = re.compile(r"`([^`]+)`")


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next one of the same level."""
    level = heading.partition(" ")[0]
    _, found, rest = f"\n{page}".partition(f"\n{heading}\n")
    assert found, f"the page has no heading {heading!r}"
    return re.split(rf"^{level} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every row, without the heads of the tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    found: list[list[str]] = []
    for line in lines:
        if set(line) <= set("|-: "):
            found.pop()
        else:
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def quoted(text: str) -> list[str]:
    """Everything in backticks."""
    return _QUOTED.findall(text)
