"""Nanoseconds of each part by a plain timer: for a feeling, not for comparisons. They depend on the machine's mood."""

from __future__ import annotations

import asyncio
import gc
from itertools import repeat
from time import perf_counter_ns
from typing import Final

from benchmarks.micro.catalogue import PARTS
from benchmarks.micro.counted import WARM_UP_ROUNDS
from benchmarks.micro.part import Call

_TRIES: Final = 5
_TRY_NS: Final = 10_000_000


def measure() -> dict[str, float]:
    """The best of a few tries of each part."""
    return asyncio.run(_measure_all())


# Private


async def _measure_all() -> dict[str, float]:
    """On a loop that is not gone back to meanwhile."""
    gc.collect()
    gc.disable()
    try:
        return {part.name: _best(part.prepare()) for part in PARTS}
    finally:
        gc.enable()


def _best(call: Call) -> float:
    rounds = WARM_UP_ROUNDS
    while (taken_ns := _time(call, rounds)) < _TRY_NS:
        rounds *= 2
    return min([taken_ns, *(_time(call, rounds) for _ in range(_TRIES))]) / rounds


def _time(call: Call, rounds: int) -> int:
    start_ns = perf_counter_ns()
    for _ in repeat(None, rounds):
        call()
    return perf_counter_ns() - start_ns
