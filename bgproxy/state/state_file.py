"""The state file on disk: one owner at a time, created whole or not at all, and judged before it is opened.

Owns the directory, the lock file, the permissions, the first creation, and the words in which damage is
reported. It must never change, move or delete a state file that it did not just create, and never call an
empty or damaged one a first start: a store that silently forgot would send traffic to the wrong pool.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from bgproxy.errors import StateError

APPLICATION_ID = 0x62677078  # "bgpx", so that `file state.db` and we can tell it from other databases
SCHEMA_VERSION = 1
FILE_MODE = 0o600  # the configuration's text and tokens' names are nobody else's business
DIRECTORY_MODE = 0o700

# Offsets of https://www.sqlite.org/fileformat.html, section 1.3.
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_USER_VERSION = slice(60, 64)
_APPLICATION_ID = slice(68, 72)

_JOURNALS = ("-wal", "-journal")  # with these, a file has changes that are not in it yet
_SIDECARS = (*_JOURNALS, "-shm")


class Damaged(Exception):
    """What is wrong. `StateFile.damaged` words it once the file is closed, which changes what lies there."""


class StateFile:
    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        self.uri = f"file://{quote(str(self.path))}?mode=rw"  # never creates
        self._lock: int | None = None
        self._identity: tuple[int, int] | None = None

    def acquire(self, schema: str) -> None:
        """Become the only owner of a file that is ours and readable; create it if there is none."""
        try:
            self._make_directory()
            self._take_lock()
            if not self.path.exists():
                self._create(schema)
            self._judge()
        except OSError as error:
            self.release()
            raise self._unusable(error) from error
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Safe to call at any time. The lock file stays: deleting it would race with the next owner."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def require_in_place(self) -> None:
        """SQLite goes on writing to a file that was deleted or moved, and nobody would ever read it."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be found any more ({error.strerror}): it was moved or deleted while bgproxy "
                "runs. Put it back, or restart bgproxy."
            ) from error
        if _identity(status) != self._identity:
            raise StateError(
                f"{self.path} was replaced while bgproxy runs, so nothing was written. Restart bgproxy to use "
                "the new file."
            )
        if status.st_size < _HEADER_BYTES:
            raise self.damaged("was truncated while bgproxy runs")

    def damaged(self, what: str) -> StateError:
        """What is wrong with the file, and the way out, as commands."""
        name = str(self.path)
        present = [name + suffix for suffix in ("", *_SIDECARS) if Path(name + suffix).exists()]
        aside = f"{name}.damaged"
        move = f"mkdir {shlex.quote(aside)} && mv {shlex.join([*present, aside])}"
        return StateError(
            f"{name} {what}. Stop bgproxy and move it aside: `{move}`. Then restore a backup: "
            f"`cp BACKUP {shlex.quote(name)}`; or start without one: every service begins on the `active` "
            "pool of the configuration, so check first that those are the pools which should have traffic."
        )

    def failed(self, error: sqlite3.Error) -> StateError:
        """What SQLite could not do, for a person."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):  # or no such table
            return self.damaged(f"is damaged ({error})")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = "Another program has it open for writing: close it and try again"
        elif code == sqlite3.SQLITE_FULL:
            remedy = f"Free some space in {self.path.parent} and try again"
        else:
            remedy = (
                f"Check the disk that holds {self.path.parent} (its space, quota, mount and the kernel's log)"
            )
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return StateError(f"{self.path}: {error} ({name}). {remedy}.")

    # Private

    def _make_directory(self) -> None:
        directory = self.path.parent
        if not directory.parent.is_dir():
            wrong = "is not a directory" if directory.parent.exists() else "does not exist"
            raise StateError(
                f"{self.path} has no directory, and it is not created, because {directory.parent} {wrong}. "
                f"Create it: `mkdir -p {shlex.quote(str(directory))}`, or correct `state: path`."
            )
        try:
            directory.mkdir(mode=DIRECTORY_MODE)
        except FileExistsError:
            return
        except OSError as error:
            create = f"install -d -m 700 -o {os.geteuid()} {shlex.quote(str(directory))}"
            raise StateError(
                f"{self.path} has no directory, and it cannot be created in {directory.parent}: {error.strerror}. "
                f"Create it as root (`{create}`), or correct `state: path`."
            ) from error
        _sync_directory(directory.parent)

    def _take_lock(self) -> None:
        path = f"{self.path}.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise StateError(
                f"{self.path} belongs to another bgproxy that is running (process {owner}, which holds {path}). "
                "Stop that one, or give this one another `state: path`.",
                process=owner,
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _create(self, schema: str) -> None:
        """Build the file under another name and rename it, so that a crash leaves nothing half-made."""
        for suffix in _JOURNALS:
            if Path(f"{self.path}{suffix}").exists():
                raise self.damaged(f"is missing, but {self.path.name}{suffix} with its last changes is there")
        draft = Path(f"{self.path}.new")
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL; BEGIN;"
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
                f"{schema}; COMMIT;"
            )
        draft.rename(self.path)
        _sync_directory(self.path.parent)

    def _judge(self) -> None:
        with self.path.open("r+b") as file:  # r+: SQLite would fall back to reading only
            header = file.read(_HEADER_BYTES)
            status = os.fstat(file.fileno())
        if wrong := _what_is_wrong(header):
            raise self.damaged(wrong)
        self._identity = _identity(status)
        if status.st_mode & 0o077:  # a restored backup has the mode of whoever copied it
            self.path.chmod(FILE_MODE)

    def _unusable(self, error: OSError) -> StateError:
        directory = self.path.parent
        if isinstance(error, IsADirectoryError):
            remedy = f"`state: path` has to name the file, such as {self.path / 'state.db'}."
        elif isinstance(error, NotADirectoryError):
            remedy = f"{directory} has to be a directory: correct `state: path`."
        else:
            remedy = (
                f"bgproxy has to read and write it and create files in {directory}: correct the owner "
                f"(`ls -ld {shlex.quote(str(directory))}`), the mount, or `state: path`."
            )
        return StateError(
            f"{self.path} cannot be used: {error.strerror} ({error.filename or self.path}). {remedy}"
        )


def _what_is_wrong(header: bytes) -> str | None:
    """Decides from the first bytes whether this is a state file that this version may open."""
    if not header:
        return "is empty, which bgproxy never leaves behind: something truncated it"
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return "is damaged, or not a state file: it does not begin like a SQLite database"
    if int.from_bytes(header[_APPLICATION_ID], "big") != APPLICATION_ID:
        return "is a SQLite database, but not one of bgproxy's; perhaps `state: path` is wrong"
    version = int.from_bytes(header[_USER_VERSION], "big")
    if version > SCHEMA_VERSION:
        return (
            f"was written by a newer bgproxy (schema {version}; this one knows {SCHEMA_VERSION}). Best start "
            "that version again"
        )
    if version != SCHEMA_VERSION:
        return f"is damaged: it says that it has schema {version}, which never existed"
    return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _sync_directory(path: Path) -> None:
    """A new name survives a power loss only if its directory is synced too."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
