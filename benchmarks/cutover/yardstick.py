"""How long SQLite takes for the commit in bgproxy's switch: the same statements, settings and bytes, in a file beside its own.

The least that an acknowledgement of a durable switch can take here, on the same disk and under the same load. It must never do
less than bgproxy has to, nor anything of what bgproxy does around it: no other thread, no look at the file's place.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from bgproxy.state.base import Limits
from bgproxy.state.sqlite import SCHEMA

LIMITS: Final = Limits()


class Commit(NamedTuple):
    began: float
    ended: float


class Yardstick:
    """A file of its own, beside bgproxy's `state`, from which it takes what is committed."""

    def __init__(self, state: Path, db: sqlite3.Connection) -> None:
        self._state = state
        self._db = db
        self._number = 0

    @classmethod
    @contextmanager
    def opened(cls, state: Path) -> Iterator[Yardstick]:
        with closing(sqlite3.connect(state.with_name("yardstick.db"), isolation_level=None)) as db:
            db.execute("PRAGMA cell_size_check = ON")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(SCHEMA)
            yield cls(state, db)

    def commit(self) -> Commit:
        """The newest switch's generation and history entry once more."""
        desired, services, entry = newest(self._state)
        self._number += 1
        checksum = crc32(desired.encode())
        began = time.monotonic()
        execute = self._db.execute
        execute("BEGIN IMMEDIATE")
        execute("SELECT coalesce(max(generation), 0) FROM generations").fetchone()
        execute("INSERT INTO generations VALUES (?, ?, ?)", (self._number, desired, checksum))
        execute("DELETE FROM generations WHERE generation <= ?", (self._number - LIMITS.generations,))
        execute("INSERT INTO history (services, entry) VALUES (?, ?)", (services, entry))
        execute("DELETE FROM history WHERE id <= ?", (self._number - LIMITS.history_entries,))
        execute("COMMIT")
        return Commit(began, time.monotonic())


def newest(state: Path) -> tuple[str, str, str]:
    """What bgproxy has written at last: the generation, and the services and text of its history entry."""
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        (desired,) = db.execute("SELECT desired FROM generations ORDER BY generation DESC LIMIT 1").fetchone()
        services, entry = db.execute(
            "SELECT services, entry FROM history ORDER BY id DESC LIMIT 1"
        ).fetchone()
    return desired, services, entry
