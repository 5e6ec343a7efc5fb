"""The file by which a load tells another process what happened: a line for each request, in batches.

It must never judge or drop a request, and a reader never sees half of one.
"""

from __future__ import annotations

import asyncio
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from bgproxy.demo.ledger import Request

FLUSH_S: Final = 0.1


class ResultWriter:
    """Runs in the load's event loop. Whoever ends the load calls `flush` at last."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file
        self._lines: list[str] = []
        self._loop = asyncio.get_running_loop()

    def add(self, request: Request) -> None:
        if not self._lines:
            self._loop.call_later(FLUSH_S, self.flush)
        self._lines.append(request.line())

    def flush(self) -> None:
        self._file.write("".join(self._lines))
        self._file.flush()
        self._lines.clear()


class ResultReader:
    """Follows a file that may still be written, or not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read(self) -> list[Request]:
        """The requests that were added since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [Request.from_line(line) for line in whole.decode().splitlines()]
