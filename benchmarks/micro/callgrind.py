"""Counts instructions: runs `counted` under valgrind, which writes its sum whenever a mark is passed.

A mark is a call of getppid, which has no other use here. So every part is counted in one process, and neither
start-up nor preparation is. The sums do not depend on how busy the machine is.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from benchmarks.micro.catalogue import PARTS
from benchmarks.micro.counted import ROUNDS, WINDOWS
from benchmarks.micro.reference import REFERENCES

TIMEOUT_S: Final = 300.0
REPOSITORY: Final = Path(__file__).parents[2]

_OPTIONS: Final = ("-q", "--tool=callgrind", "--dump-before=getppid", "--dump-line=no")
_MODULE: Final = ("-m", "benchmarks.micro.counted")
# The C library picks its routines for copying and searching by processor. With these it takes the same everywhere;
# names that it does not know it ignores.
_PLAIN_ROUTINES: Final = "glibc.cpu.hwcaps=" + ",".join(
    f"-{each}" for each in ("AVX2", "AVX2_Usable", "AVX_Fast_Unaligned_Load", "ERMS", "FSRM", "BMI2")
)
# Whether Python's own allocator needs another page for the next object is chance. The C library's, with a cache that
# holds all that a part needs, and without giving anything back to the kernel, takes the same for each object.
_EVEN_MEMORY: Final = (
    "glibc.malloc.tcache_count=10000:glibc.malloc.mmap_threshold=33554432"
    ":glibc.malloc.trim_threshold=1073741824"
)
# Where an object lies decides with which others it shares a place in Python's cache of attributes, and so does the length
# of every path and variable that was read before it was made. Whoever meets another there costs up to 3 % more.
_LAYOUTS: Final = ("", "x" * 1_000, "x" * 30_000)
_SUMMARY: Final = re.compile(r"^summary: (\d+)$", re.MULTILINE).search


class CountingError(Exception):
    """Nothing was counted; says why, and what to do."""


class Counts(NamedTuple):
    """Instructions of one call, by name."""

    references: dict[str, float]
    parts: dict[str, float]


def count() -> Counts:
    """The least of several runs, each with another layout of memory. About 40 s."""
    valgrind = which("valgrind")
    if valgrind is None:
        raise CountingError("valgrind is not installed; on Debian: apt-get install valgrind")
    _compile()
    with ThreadPoolExecutor(len(_LAYOUTS)) as pool:
        found = list(pool.map(partial(_count, valgrind), _LAYOUTS))
    each = {name: min(one[name] for one in found) for name in found[0]}
    references = {part.name: each.pop(part.name) for part in REFERENCES}
    return Counts(references, each)


# Private


def _count(valgrind: str, layout: str) -> dict[str, float]:
    with TemporaryDirectory(prefix="bgproxy-micro-") as folder:
        out = Path(folder, "out")
        try:
            done = subprocess.run(
                [valgrind, *_OPTIONS, f"--callgrind-out-file={out}", sys.executable, *_MODULE],
                cwd=REPOSITORY,
                env=_environment(layout),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CountingError(f"valgrind has not ended after {TIMEOUT_S:g} s") from None
        if done.returncode:
            raise CountingError(f"the run under valgrind failed ({done.returncode}):\n{done.stderr.strip()}")
        dumps = (_sum(Path(f"{out}.{number}")) for number in itertools.count(1))
        next(dumps)  # start-up
        nothing = next(dumps)
        return {part.name: (min(_windows(dumps)) - nothing) / ROUNDS for part in (*REFERENCES, *PARTS)}


def _windows(dumps: Iterator[int]) -> list[int]:
    """Every other one is of what was done between the windows."""
    return [next(islice(dumps, 1, None)) for _ in range(WINDOWS)]


def _compile() -> None:
    """Modules that are compiled by the process that is counted cost it up to 2 % more or less than those that are loaded."""
    command = [sys.executable, "-c", f"import {_MODULE[1]}"]
    subprocess.run(command, cwd=REPOSITORY, env=_environment(""), timeout=TIMEOUT_S, check=False)


def _environment(layout: str) -> dict[str, str]:
    """Little, and the same for everybody."""
    return {
        "PATH": os.defpath,
        "LAYOUT": layout,
        "PYTHONHASHSEED": "0",
        "PYTHONMALLOC": "malloc",
        "GLIBC_TUNABLES": f"{_PLAIN_ROUTINES}:{_EVEN_MEMORY}",
    }


def _sum(dump: Path) -> int:
    try:
        found = _SUMMARY(dump.read_text())
    except FileNotFoundError:
        found = None
    if found is None:
        raise CountingError(
            "callgrind has not seen every mark: does this C library export getppid? "
            f"Try `valgrind {' '.join(_OPTIONS[1:3])} python -c 'import os; os.getppid()'`"
        )
    return int(found[1])
