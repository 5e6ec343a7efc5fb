"""CPU time as the kernel books it: of a process, of a tree of processes, of a core. Linux only, reads only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


def parse_stat(text: str) -> float:
    """utime + stime of a `/proc/PID/stat`, in seconds; children that ended are not in it."""
    fields = _fields(text)
    return (int(fields[11]) + int(fields[12])) * TICK_S


def parse_parent(text: str) -> int:
    """The parent's number in a `/proc/PID/stat`."""
    return int(_fields(text)[1])


def parse_core(text: str, core: int) -> float:
    """Seconds that a core spent on programs, or did not get from its host, by `/proc/stat`."""
    for line in text.splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            user, nice, system = map(int, values[:3])
            stolen = int(values[7])
            return (user + nice + system + stolen) * TICK_S
    raise ValueError(f"/proc/stat has no line for cpu{core}")


def tree(root: int) -> set[int]:
    """`root` and all that descends from it."""
    children: dict[int, list[int]] = {}
    for path in _PROC.iterdir():
        if path.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                children.setdefault(parse_parent((path / "stat").read_text()), []).append(int(path.name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds that these processes have used so far; FileNotFoundError if one of them is gone."""
    return sum(parse_stat((_PROC / str(pid) / "stat").read_text()) for pid in pids)


def core_s(core: int) -> float:
    return parse_core((_PROC / "stat").read_text(), core)


# Private


def _fields(text: str) -> list[str]:
    """From the third field on: the second is the program's name, which may hold blanks and brackets."""
    return text.rpartition(")")[2].split()
