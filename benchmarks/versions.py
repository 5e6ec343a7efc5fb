"""Which versions may answer a request, while somebody in the same process switches. Pure, no clocks.

A request may be answered by the version in force when it began, and by any to which a switch was sent before
it ended: until a switch is acknowledged, both sides are right.
"""

from __future__ import annotations

import re
from typing import Final

VERSION_HEADER: Final = "X-Version"

_GREETING = re.compile(r"hello from (\S+) on ")


class Versions:
    """Without a switch, nothing is expected: whoever answers is right."""

    def __init__(self) -> None:
        self._sent: list[str] = []
        self._acknowledged = 0  # all before it have been overtaken

    def start(self, version: str) -> None:
        """Before the first switch: this version is active."""
        self._sent = [version]
        self._acknowledged = 0

    def switch_sent(self, version: str) -> None:
        self._sent.append(version)

    def switch_acknowledged(self) -> None:
        self._acknowledged = len(self._sent) - 1

    def switch_refused(self) -> None:
        """Nothing has moved. (A switch without any answer stays on its way: it may have.)"""
        self._sent.pop()

    def begin(self) -> int:
        """A request begins; `find_fault` wants this back when it has ended."""
        return self._acknowledged

    def find_fault(self, began: int, version: str | None, body: str) -> str | None:
        """What is wrong with an answer, or None."""
        if not version:
            return f"the answer has no {VERSION_HEADER}: does something else than the demo's app answer?"
        named = _GREETING.match(body)
        if named is not None and named[1] != version:
            return f"{VERSION_HEADER} is {version}, but the body is from {named[1]}"
        allowed = self._sent[began:]
        if allowed and version not in allowed:
            return f"stale: answered by {version}, when only {' or '.join(dict.fromkeys(allowed))} may"
        return None
