"""What a process holds in memory, by the kernel's books. Linux only; changes nothing but the record of the peak."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_RESET_PEAK: Final = "5"  # what proc(5) has for it


class Footprint(NamedTuple):
    """`rss_bytes` is all that is resident; of `pss_bytes`, what is shared counts in equal parts for its sharers."""

    rss_bytes: int
    pss_bytes: int


def parse_rollup(text: str) -> Footprint:
    """A `/proc/PID/smaps_rollup`."""
    return Footprint(_kib("Rss", text) * 1024, _kib("Pss", text) * 1024)


def parse_peak(text: str) -> int:
    """The highest resident set of a `/proc/PID/status`, in bytes."""
    return _kib("VmHWM", text) * 1024


def of(pid: int) -> Footprint:
    return parse_rollup((_PROC / str(pid) / "smaps_rollup").read_text())


def pss_bytes(pids: Iterable[int]) -> int:
    """Of all of them together."""
    return sum(of(pid).pss_bytes for pid in pids)


def forget_peak(pid: int) -> None:
    """From now on the peak is that of what is to come."""
    (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)


def peak_rss_bytes(pid: int) -> int:
    """The kernel's own record: it misses nothing, as looking now and then would."""
    return parse_peak((_PROC / str(pid) / "status").read_text())


# Private


def _kib(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"the kernel does not tell {name}")
    return int(found[1])
