import mmap
import os

import pytest

from benchmarks.memory import footprint
from benchmarks.memory.footprint import Footprint

MIB = 1024 * 1024
ROLLUP = """\
55d0a7a5c000-7ffc2a1f6000 ---p 00000000 00:00 0                          [rollup]
Rss:               25164 kB
Pss:               21000 kB
Pss_Dirty:         17000 kB
"""


def test_a_rollup_is_read() -> None:
    assert footprint.parse_rollup(ROLLUP) == Footprint(25164 * 1024, 21000 * 1024)


def test_what_the_kernel_does_not_tell_is_no_zero() -> None:
    with pytest.raises(ValueError, match="does not tell Pss"):
        footprint.parse_rollup("Rss: 1 kB\n")
    with pytest.raises(ValueError, match="does not tell VmHWM"):
        footprint.parse_peak("Name:\tkthreadd\n")


def test_memory_that_was_touched_and_given_back_is_in_the_peak_until_that_is_forgotten() -> None:
    """Of this process, by the real kernel."""
    pid, size_bytes = os.getpid(), 64 * MIB
    footprint.forget_peak(pid)
    before = footprint.of(pid)
    with mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.write(b"\1" * size_bytes)
    grown = footprint.peak_rss_bytes(pid) - before.rss_bytes
    assert grown > 0.9 * size_bytes
    assert footprint.of(pid).rss_bytes - before.rss_bytes < grown / 2
    footprint.forget_peak(pid)
    assert footprint.peak_rss_bytes(pid) - before.rss_bytes < grown / 2
