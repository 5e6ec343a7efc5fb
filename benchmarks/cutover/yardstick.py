"""How long the disk takes for a commit like the one in bgproxy's switch: SQLite, synced, with as many bytes.

The least that an acknowledgement of a durable switch can take here, on the same disk and under the same load. It must never do
less than bgproxy has to.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from bgproxy.state.sqlite import SCHEMA


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
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(SCHEMA)
            yield cls(state, db)

    def commit(self) -> Commit:
        """The newest switch's generation and history entry once more."""
        desired, services, entry = newest(self._state)
        self._number += 1
        began = time.monotonic()
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("INSERT INTO generations VALUES (?, ?, 0)", (self._number, desired))
        self._db.execute("INSERT INTO history (services, entry) VALUES (?, ?)", (services, entry))
        self._db.execute("COMMIT")
        return Commit(began, time.monotonic())


def newest(state: Path) -> tuple[str, str, str]:
    """What bgproxy has written at last: the generation, and the services and text of its history entry."""
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        (desired,) = db.execute("SELECT desired FROM generations ORDER BY generation DESC LIMIT 1").fetchone()
        services, entry = db.execute(
            "SELECT services, entry FROM history ORDER BY id DESC LIMIT 1"
        ).fetchone()
    return desired, services, entry
