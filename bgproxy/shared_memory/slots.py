"""Which record of the workers' blocks belongs to which service or upstream."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from bgproxy.shared_memory.counters import FIRST_SLOT
from bgproxy.shared_memory.layout import RECORDS

Key = tuple[str, ...]  # (service,) or (service, pool, address)


class Slots:
    """Hands out (slot, tag) pairs. A tag is never used twice; a slot only after nobody uses it any more."""

    def __init__(self, is_quiet: Callable[[int], bool]) -> None:
        self._is_quiet = is_quiet
        self._taken: dict[Key, tuple[int, int]] = {}
        self._released: deque[int] = deque()
        self._next_slot = FIRST_SLOT
        # Microseconds, so that a successor's tags differ from all that were ever handed out before it.
        self._next_tag = time.time_ns() // 1000

    def restore(self, taken: dict[Key, tuple[int, int]]) -> None:
        """Takes over what a predecessor had handed out, before anything is asked for."""
        self._taken = dict(taken)
        self._next_tag = max([self._next_tag, *(tag + 1 for _, tag in taken.values())])
        self._next_slot = max((slot + 1 for slot, _ in taken.values()), default=FIRST_SLOT)
        used = {slot for slot, _ in taken.values()}
        self._released = deque(slot for slot in range(FIRST_SLOT, self._next_slot) if slot not in used)

    def take(self, key: Key) -> tuple[int, int]:
        """The record of `key`, a new one if it has none. Raises ValueError when all are in use."""
        place = self._taken.get(key)
        if place is None:
            place = self._taken[key] = (self._free_slot(), self._next_tag)
            self._next_tag += 1
        return place

    def has_others(self, keys: AbstractSet[Key]) -> bool:
        """Whether `keep_only` would release anything."""
        return not self._taken.keys() <= keys

    def keep_only(self, keys: Iterable[Key]) -> None:
        """Releases the records of everything else, which all living workers have to have left by now.

        That is, they obey a snapshot without it. Only then does a quiet record stay quiet.
        """
        kept = set(keys)
        for key in [key for key in self._taken if key not in kept]:
            self._released.append(self._taken.pop(key)[0])

    def room(self, keys: Iterable[Key]) -> int:
        """How many records would be left if all of `keys` had one; below zero: there are not enough."""
        missing = sum(key not in self._taken for key in set(keys))
        quiet = sum(self._is_quiet(slot) for slot in self._released)
        return RECORDS - self._next_slot + quiet - missing

    # Private

    def _free_slot(self) -> int:
        # The longest released first; one that still has requests under way goes to the end.
        for _ in range(len(self._released)):
            slot = self._released.popleft()
            if self._is_quiet(slot):
                return slot
            self._released.append(slot)
        while self._next_slot < RECORDS:
            slot = self._next_slot
            self._next_slot += 1
            if self._is_quiet(slot):
                return slot
            self._released.append(slot)  # by a predecessor
        raise ValueError(
            f"all {RECORDS - FIRST_SLOT} records of services and upstreams are in use: "
            "remove some, or wait until requests to removed ones have ended"
        )
