"""CPU time of a switch: that of a proxy's processes, living and dead, and of the commands that it needs.

Without load, because otherwise the requests' share would hide it. It must never count what the processes do anyway.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks import cpu_time

SWITCHES: Final = 20
PAUSE_S: Final = 0.1
# For what goes on after the last switch: nginx's old workers end, Go collects.
QUIET_S: Final = 0.5


def of_switch_s(root: int, switch: Callable[[], None]) -> float:
    """Mean of `SWITCHES` switches by the proxy whose first process is `root`; idle time is measured and taken off."""
    began = spent_s(root)
    time.sleep(SWITCHES * PAUSE_S + QUIET_S)
    idle_s = spent_s(root) - began
    began, started = spent_s(root), time.monotonic()
    for number in range(SWITCHES):
        switch()
        time.sleep(max(0.0, started + (number + 1) * PAUSE_S - time.monotonic()))
    time.sleep(QUIET_S)
    return (spent_s(root) - began - idle_s) / SWITCHES


def spent_s(root: int) -> float:
    """So far, by this tree and by commands of ours that have ended.

    What the living used is known to the nanosecond; what the dead used, to their parents' tick.
    """
    commands = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = commands.ru_utime + commands.ru_stime
    for pid in cpu_time.tree(root):
        with contextlib.suppress(OSError):  # it has ended meanwhile, and its parent knows what it used
            total += time.clock_gettime(_clock(pid)) + _reaped_s(pid)
    return total


# Private


def _clock(pid: int) -> int:
    """The kernel's number of the CPU clock of a process (clock_getcpuclockid(3))."""
    return ~pid << 3 | 2


def _reaped_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * cpu_time.TICK_S
