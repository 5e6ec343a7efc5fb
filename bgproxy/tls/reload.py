"""A value made of files, made again when they change.

Never gives up a value that works for one that cannot be made: a pair of files is often seen half written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from bgproxy.tls.pem import Unusable

logger = logging.getLogger("bgproxy.tls")

T = TypeVar("T")
Stamp = tuple[int, int, int, int]


class FromFiles(Generic[T]):
    """`value` is what `make` made last. Making it for the first time raises `Unusable`."""

    def __init__(self, paths: tuple[str, ...], make: Callable[[], T]) -> None:
        self._paths = paths
        self._make = make
        # Before they are read: what changes meanwhile is seen next time.
        self._stamps = self._look()
        self._failure = ""
        self.value = make()

    def refresh(self) -> list[str]:
        """Makes the value again if files have changed; which ones, if it could be made."""
        stamps = self._look()
        if stamps == self._stamps:
            self._failure = ""
            return []
        try:
            value = self._make()
        except Unusable as error:
            if str(error) != self._failure:  # it is tried again each time, and said once
                self._failure = str(error)
                logger.error("%s; what was read before stays in use", error)  # noqa: TRY400 - says it all
            return []
        changed = [path for path in self._paths if stamps[path] != self._stamps[path]]
        self.value, self._stamps, self._failure = value, stamps, ""
        return changed

    # Private

    def _look(self) -> dict[str, Stamp | None]:
        return {path: _stamp(path) for path in self._paths}


def _stamp(path: str) -> Stamp | None:
    """None for a file that is not there. The time of the inode's change tells of new permissions, too."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
