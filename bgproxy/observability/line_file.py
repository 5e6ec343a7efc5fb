"""A file that several processes append lines to, and that others rotate: opened, written, opened again.

Nothing that goes wrong with it is raised to whoever writes lines: they get the number of those that are lost. It
blocks for as long as the disk or the reader of a pipe does, so it is no business of an event loop.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import Final

STDOUT: Final = "stdout"
# Of a new file: there may be secrets in query strings.
MODE: Final = 0o640

# For a pipe that nobody reads, opening must fail instead of waiting; a regular file does not care.
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK

_HINTS: Final = {
    errno.ENOENT: "its directory does not exist; create it, for the user that bgproxy runs as",
    errno.EACCES: "the user that bgproxy runs as may not write there",
    errno.EROFS: "it is read-only there; under systemd, `LogsDirectory=` makes a place",
    errno.ENXIO: "it is a pipe or a socket that nobody reads",
    errno.EBADF: "standard output is closed; name a file instead",
}


class LineFile:
    """`path` is that of a file, or `stdout`. Not open until `open`, which raises, or the first lines."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.trouble: OSError | None = None  # the last one
        self._fd: int | None = None
        self._atomic_bytes = 0
        self._torn = False  # the last line of ours was written in part

    def open(self) -> None:
        """Opens the file, or whatever has its name now. Raises OSError, and keeps what was open before."""
        try:
            fd = _open(self.path)
        except OSError as error:
            reason = _HINTS.get(error.errno or 0) or error.strerror
            raise OSError(error.errno, f"cannot write {self.path}: {reason}") from error
        # What several processes write at once is kept apart by the kernel: in a file always, in a pipe up
        # to this size.
        self._atomic_bytes = 0 if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        self.close()
        self._fd = fd

    def append(self, lines: Sequence[bytes]) -> int:
        """Writes lines, each with its newline. Returns how many of them are lost; `trouble` says why."""
        lost = 0
        try:
            fd = self._current()
        except OSError as error:
            self.trouble = error
            return len(lines)
        for chunk in self._chunks(lines):
            lost += self._write(fd, chunk)
        return lost

    def close(self) -> None:
        if self._fd is not None and self.path != STDOUT:
            os.close(self._fd)
        self._fd = None

    # Private

    def _current(self) -> int:
        """The open file; another one of its name if it was deleted, because nobody would read that again."""
        if self._fd is None or (self.path != STDOUT and os.fstat(self._fd).st_nlink == 0):
            self.open()
        assert self._fd is not None  # noqa: S101 - it has just been opened, or `open` has raised
        return self._fd

    def _chunks(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Whole lines, as many as may be in one write."""
        if not self._atomic_bytes:
            yield b"".join(lines)
            return
        chunk = b""
        for line in lines:
            if chunk and len(chunk) + len(line) > self._atomic_bytes:
                yield chunk
                chunk = b""
            chunk += line
        yield chunk

    def _write(self, fd: int, chunk: bytes) -> int:
        """Writes all of it, or what there is room for; returns the number of lines that are not whole."""
        mended = self._torn
        data = b"\n" + chunk if mended else chunk
        done = 0
        try:
            while done < len(data):
                try:
                    done += os.write(fd, data[done:] if done else data)
                except BlockingIOError:
                    _wait_for_room(fd)
        except OSError as error:
            self.trouble = error
        if done == len(data):
            self._torn = False
            return 0
        if done:
            self._torn = data[done - 1] != ord("\n")
        written = data.count(b"\n", 0, done) - (1 if mended and done else 0)
        return chunk.count(b"\n") - written


# Private


def _open(path: str) -> int:
    if path != STDOUT:
        return os.open(path, _FLAGS, MODE)
    if sys.stdout is None:
        # It was closed when the program began: by now the number may be that of something else.
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return 1


def _wait_for_room(fd: int) -> None:
    """A pipe that is full, and that somebody has made non-blocking."""
    room = select.poll()
    room.register(fd, select.POLLOUT)
    room.poll()
