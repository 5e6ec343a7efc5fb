"""The process that callgrind counts: marks, and between them a part a hundred times.

Each part is counted several times and the least counts, since what disturbs only ever adds. `callgrind` has the other
half of this.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import ExitStack
from itertools import count, repeat
from typing import Final
from unittest.mock import patch

from benchmarks.micro.catalogue import PARTS
from benchmarks.micro.part import Call
from benchmarks.micro.reference import REFERENCES
from bgproxy.proxy import books, exchange, log_entry

ROUNDS: Final = 100
WINDOWS: Final = 3
# Python specialises what it executes often; until then a call costs more.
WARM_UP_ROUNDS: Final = 100
# How long every request takes, as far as it can tell: the bucket of its duration is the same each time.
TICK_NS: Final = 50_000

# What fills the holes of the heap, from large to small.
_FILLING_BYTES: Final = (*([16_384] * 2_000), *(size for size in range(16_384, 1_000, -16) for _ in range(8)))


def mark() -> None:
    """What `callgrind` looks out for: it has no other use here."""
    os.getppid()


async def _count_all() -> None:
    """On a loop that is never gone back to, so no timer disturbs."""
    calls = [part.prepare() for part in (*REFERENCES, *PARTS)]
    for call in calls:
        _repeat(call, WARM_UP_ROUNDS)
    gc.collect()
    # The C library's cache is for small blocks only. With all holes of the heap filled, larger ones come from its end.
    filling = [bytes(size) for size in _FILLING_BYTES]
    mark()
    mark()
    for call in calls:
        for _ in range(WINDOWS):
            mark()
            _repeat(call, ROUNDS)
            mark()
    del filling


def _repeat(call: Call, rounds: int) -> None:
    for _ in repeat(None, rounds):
        call()


if __name__ == "__main__":
    gc.disable()
    clock = count(0, TICK_NS).__next__
    with ExitStack() as stack:
        for module in (books, exchange, log_entry):
            stack.enter_context(patch.object(module, "perf_counter_ns", clock))
        asyncio.run(_count_all())
