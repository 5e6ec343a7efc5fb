"""The durable state store: one SQLite file on a local disk, one connection, one thread that uses it.

Owns the schema and every statement. A commit is one transaction in WAL mode with synchronous=FULL, so it
is on disk when the call returns. The event loop never waits for the disk: all work runs on the store's
thread, in the order in which it was asked for. It must never serve a state that it cannot prove whole.

If the disk fails in the middle of a sync, nobody can know whether the refused commit will be there after
a crash; it is then either there whole, with its history entry, or not at all.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar
from zlib import crc32

from bgproxy.errors import StateError
from bgproxy.model import Desired
from bgproxy.state.base import (
    ConfigText,
    HistoryEntry,
    Limits,
    StoredResponse,
    key_is_taken,
    require_limit,
    require_next,
    require_text,
)
from bgproxy.state.codec import decode, encode
from bgproxy.state.disk_thread import DiskThread
from bgproxy.state.state_file import Damaged, StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

BUSY_TIMEOUT_S = 2.0  # for a person's sqlite3 shell; another bgproxy never gets this far

# The checksums are for what decides about traffic: SQLite would not notice a flipped bit in a value.
SCHEMA = """
CREATE TABLE generations (generation INTEGER PRIMARY KEY, desired TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE history (id INTEGER PRIMARY KEY, services TEXT NOT NULL, entry TEXT NOT NULL);
CREATE TABLE config (
    id INTEGER PRIMARY KEY CHECK (id = 1), text TEXT NOT NULL, source TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE responses (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, expires_at REAL NOT NULL,
    fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX responses_by_expiry ON responses (expires_at);
"""


class SqliteStore:
    """Made by `open`, which fails with `StateError` rather than start over a file that is not whole."""

    def __init__(self, file: StateFile, *, limits: Limits, clock: Callable[[], float]) -> None:
        self._file = file
        self._limits = limits
        self._clock = clock
        self._thread = DiskThread("bgproxy-state")
        self._closed = False
        self._connection: sqlite3.Connection | None = None  # see _db

    @classmethod
    async def open(
        cls, path: str | Path, *, limits: Limits | None = None, clock: Callable[[], float] = time.time
    ) -> Self:
        store = cls(StateFile(path), limits=limits or Limits(), clock=clock)
        try:
            await store._run(store._connect)
        except BaseException:
            await store.close()
            raise
        return store

    async def load(self) -> Desired | None:
        return await self._run(self._newest)

    async def commit(
        self,
        desired: Desired,
        history: HistoryEntry,
        *,
        expected_generation: int,
        idempotency: StoredResponse | None = None,
        config: ConfigText | None = None,
    ) -> HistoryEntry:
        text = encode(desired)  # here, because a caller may change the dicts in it while the thread is busy

        def work() -> HistoryEntry:
            with self._transaction():
                (stored,) = self._db.execute(
                    "SELECT coalesce(max(generation), 0) FROM generations"
                ).fetchone()
                require_next(stored, expected_generation, desired)
                self._db.execute(
                    "INSERT INTO generations VALUES (?, ?, ?)",
                    (desired.generation, text, crc32(text.encode())),
                )
                self._db.execute(
                    "DELETE FROM generations WHERE generation <= ?",
                    (desired.generation - self._limits.generations,),
                )
                if idempotency:
                    self._keep_response(idempotency)
                if config:
                    self._keep_config(config)
                return self._append(
                    replace(history, generation_from=stored, generation_to=desired.generation)
                )

        return await self._run(work)

    async def record(self, history: HistoryEntry) -> HistoryEntry:
        def work() -> HistoryEntry:
            with self._transaction():
                return self._append(history)

        return await self._run(work)

    async def history(
        self, limit: int = 100, before_id: int | None = None, service: str | None = None
    ) -> list[HistoryEntry]:
        require_limit(limit)
        require_text(service=service or "")

        def work() -> list[HistoryEntry]:
            rows = self._db.execute(
                "SELECT id, CAST(entry AS BLOB) FROM history WHERE (:before IS NULL OR id < :before) "
                "AND (:service IS NULL OR instr(services, char(10) || :service || char(10))) "
                "ORDER BY id DESC LIMIT :limit",
                {"before": before_id, "service": service, "limit": limit},
            )
            return [
                replace(decode(HistoryEntry, text, f"{self._file.path}, history entry {id_}"), id=id_)
                for id_, text in rows
            ]

        return await self._run(work)

    async def generations(self, limit: int = 100) -> list[Desired]:
        require_limit(limit)
        return await self._run(lambda: list(self._saved(limit)))

    async def idempotent(self, key: str) -> StoredResponse | None:
        require_text(key=key)
        return await self._run(lambda: self._response(key))

    async def remember(self, key: str, fingerprint: str, status: int, body: bytes) -> None:
        def work() -> None:
            with self._transaction():
                self._keep_response(StoredResponse(key, fingerprint, status, body))

        await self._run(work)

    async def config_text(self) -> ConfigText | None:
        return await self._run(self._config)

    async def set_config(self, text: str, source: str) -> None:
        def work() -> None:
            with self._transaction():
                self._keep_config(ConfigText(text, source))

        await self._run(work)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.shield(self._submit(self._disconnect))
        finally:
            self._thread.end()

    # Private

    def _run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._closed:
            raise StateError(f"{self._file.path} is closed: bgproxy is shutting down.")
        return self._submit(work)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        def guarded() -> T:
            try:
                return work()
            except sqlite3.Error as error:
                raise self._file.failed(error) from error
            except (Damaged, UnicodeDecodeError) as error:  # SQLite's own message may quote damaged text
                raise self._file.damaged(f"is damaged ({error})") from error

        return self._thread.run(guarded)

    # On the store's thread

    def _connect(self) -> None:
        self._file.acquire(SCHEMA)
        try:
            self._connection = sqlite3.connect(
                self._file.uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
            )
            self._examine(self._connection)
        except BaseException:
            self._disconnect()
            raise

    def _examine(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA synchronous = FULL")
        ((mode,),) = db.execute("PRAGMA journal_mode = WAL").fetchall()
        if mode != "wal":
            raise StateError(
                f"{self._file.path} is on a file system that cannot share memory between processes, so SQLite "
                f"offers only journal mode {mode!r}. Put it on a local disk: correct `state: path`."
            )
        ((verdict,),) = db.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise Damaged(verdict)
        self._newest()
        self._config()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection:
                connection.close()
        finally:
            self._file.release()

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._connection, "_connect runs first"  # noqa: S101 - for the type checker
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._file.require_in_place()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # some errors roll back by themselves
                self._db.execute("ROLLBACK")
            raise

    def _newest(self) -> Desired | None:
        return next(self._saved(1), None)

    def _saved(self, limit: int) -> Iterator[Desired]:
        """Cast, because damage may have made the text something that sqlite3 cannot decode."""
        for generation, text, checksum in self._db.execute(
            "SELECT generation, CAST(desired AS BLOB), checksum FROM generations ORDER BY generation DESC LIMIT ?",
            (limit,),
        ).fetchall():
            where = f"generation {generation}"
            if checksum != crc32(text):
                raise Damaged(f"{where} does not match its checksum")
            try:
                desired = decode(Desired, text, where)
            except StateError as error:
                raise Damaged(error.detail) from error
            if desired.generation != generation:
                raise Damaged(f"{where} says that it is generation {desired.generation}")
            yield desired

    def _append(self, history: HistoryEntry) -> HistoryEntry:
        text = encode(history)
        services = "\n".join(("", *history.services, ""))
        id_ = (
            self._db.execute(
                "INSERT INTO history (services, entry) VALUES (?, ?)", (services, text)
            ).lastrowid
            or 0
        )
        self._db.execute("DELETE FROM history WHERE id <= ?", (id_ - self._limits.history_entries,))
        return replace(history, id=id_)

    def _response(self, key: str) -> StoredResponse | None:
        row = self._db.execute(
            "SELECT key, fingerprint, status, body FROM responses WHERE key = ? AND expires_at > ?",
            (key, self._clock()),
        ).fetchone()
        return StoredResponse(*row) if row else None

    def _keep_response(self, response: StoredResponse) -> None:
        require_text(key=response.key, fingerprint=response.fingerprint)
        now = self._clock()
        self._db.execute("DELETE FROM responses WHERE expires_at <= ?", (now,))
        if self._response(response.key):
            raise key_is_taken(response.key)
        id_ = (
            self._db.execute(
                "INSERT INTO responses (key, expires_at, fingerprint, status, body) VALUES (?, ?, ?, ?, ?)",
                (
                    response.key,
                    now + self._limits.response_ttl_s,
                    response.fingerprint,
                    response.status,
                    response.body,
                ),
            ).lastrowid
            or 0
        )
        self._db.execute("DELETE FROM responses WHERE id <= ?", (id_ - self._limits.responses,))

    def _config(self) -> ConfigText | None:
        row = self._db.execute(
            "SELECT CAST(text AS BLOB), CAST(source AS BLOB), checksum FROM config"
        ).fetchone()
        if row is None:
            return None
        text, source, checksum = row
        if checksum != crc32(text, crc32(source)):
            raise Damaged("the configuration does not match its checksum")
        return ConfigText(text.decode(), source.decode())

    def _keep_config(self, config: ConfigText) -> None:
        require_text(text=config.text, source=config.source)
        checksum = crc32(config.text.encode(), crc32(config.source.encode()))
        self._db.execute(
            "INSERT OR REPLACE INTO config VALUES (1, ?, ?, ?)", (config.text, config.source, checksum)
        )
