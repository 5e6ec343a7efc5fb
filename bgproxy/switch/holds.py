"""The holds that are on. They are not desired state: a controller that dies takes its holds with it, and
the workers let go by themselves when the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from bgproxy.model import Hold
from bgproxy.switch.calls import HoldLimits

# Workers let go this much later than the controller, which is to be the first while it lives.
WORKER_GRACE_S: Final = 1.0


class Holds:
    def __init__(self) -> None:
        self._by_service: dict[str, Hold] = {}
        self._last_id = 0

    def present(self) -> Mapping[str, Hold]:
        """The hold of each service that has one."""
        return self._by_service

    def begin(self, names: Sequence[str], limits: HoldLimits, now: float) -> tuple[int, ...]:
        """A hold of its own for each service; ids are never used twice, also not by a successor."""
        ids = []
        for name in names:
            self._last_id = max(self._last_id + 1, time.time_ns() // 1000)
            until = now + limits.timeout_s + WORKER_GRACE_S
            self._by_service[name] = Hold(self._last_id, until, limits.max_requests, limits.max_bytes)
            ids.append(self._last_id)
        return tuple(ids)

    def has(self, ids: Sequence[int]) -> bool:
        """True while all of them are on."""
        return {hold.id for hold in self._by_service.values()}.issuperset(ids)

    def end(self, ids: Sequence[int]) -> list[str]:
        """Ends those that are still on; returns their services."""
        ended = [name for name, hold in self._by_service.items() if hold.id in ids]
        for name in ended:
            del self._by_service[name]
        return ended
