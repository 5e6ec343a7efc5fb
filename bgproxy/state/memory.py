"""The state store that forgets: `state: {backend: memory}`, and tests of what stands above a store.

Owns nothing outside the process. It must never be laxer than the durable stores: state is kept as text,
so that what they could not write is refused here too, and a caller's later edit of a dict changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from bgproxy.errors import StateError
from bgproxy.model import Desired
from bgproxy.state.base import (
    ConfigText,
    HistoryEntry,
    Limits,
    StoredResponse,
    key_is_taken,
    require_limit,
    require_next,
    require_text,
)
from bgproxy.state.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryStore:
    """`remembered` is what somebody else still knows of the state: the snapshot that traffic obeys."""

    def __init__(
        self,
        remembered: Desired | None = None,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._generations: deque[Desired] = deque(maxlen=self._limits.generations)
        self._history: deque[HistoryEntry] = deque(maxlen=self._limits.history_entries)
        self._last_id = 0
        self._responses: dict[str, tuple[float, StoredResponse]] = {}
        self._config: ConfigText | None = None
        self._closed = False
        if remembered is not None:
            self._generations.append(remembered)

    async def load(self) -> Desired | None:
        self._require_open()
        return _copy(self._generations[-1]) if self._generations else None

    async def commit(
        self,
        desired: Desired,
        history: HistoryEntry,
        *,
        expected_generation: int,
        idempotency: StoredResponse | None = None,
        config: ConfigText | None = None,
    ) -> HistoryEntry:
        self._require_open()
        stored = self._generations[-1].generation if self._generations else 0
        require_next(stored, expected_generation, desired)
        desired = _copy(desired)
        history = replace(history, generation_from=stored, generation_to=desired.generation)
        encode(history)
        if idempotency:
            self._require_free(idempotency)
        if config:
            require_text(text=config.text, source=config.source)
            self._config = config
        if idempotency:
            self._keep(idempotency)
        self._generations.append(desired)
        return self._append(history)

    async def record(self, history: HistoryEntry) -> HistoryEntry:
        self._require_open()
        encode(history)
        return self._append(history)

    async def history(
        self, limit: int = 100, before_id: int | None = None, service: str | None = None
    ) -> list[HistoryEntry]:
        self._require_open()
        require_limit(limit)
        found = (
            entry
            for entry in reversed(self._history)
            if (before_id is None or entry.id < before_id) and (service is None or service in entry.services)
        )
        return list(islice(found, limit))

    async def generations(self, limit: int = 100) -> list[Desired]:
        self._require_open()
        require_limit(limit)
        return [_copy(desired) for desired in islice(reversed(self._generations), limit)]

    async def idempotent(self, key: str) -> StoredResponse | None:
        self._require_open()
        require_text(key=key)
        expires_at, response = self._responses.get(key, (0.0, None))
        return response if self._clock() < expires_at else None

    async def remember(self, key: str, fingerprint: str, status: int, body: bytes) -> None:
        self._require_open()
        response = StoredResponse(key, fingerprint, status, body)
        self._require_free(response)
        self._keep(response)

    async def config_text(self) -> ConfigText | None:
        self._require_open()
        return self._config

    async def set_config(self, text: str, source: str) -> None:
        self._require_open()
        require_text(text=text, source=source)
        self._config = ConfigText(text, source)

    async def close(self) -> None:
        self._closed = True

    # Private

    def _require_open(self) -> None:
        if self._closed:
            raise StateError("the state store is closed: bgproxy is shutting down.")

    def _append(self, history: HistoryEntry) -> HistoryEntry:
        self._last_id += 1
        history = replace(history, id=self._last_id)
        self._history.append(history)
        return history

    def _require_free(self, response: StoredResponse) -> None:
        require_text(key=response.key, fingerprint=response.fingerprint)
        expires_at, _ = self._responses.get(response.key, (0.0, None))
        if self._clock() < expires_at:
            raise key_is_taken(response.key)

    def _keep(self, response: StoredResponse) -> None:
        now = self._clock()
        kept = {key: held for key, held in self._responses.items() if now < held[0]}
        kept[response.key] = (now + self._limits.response_ttl_s, response)
        excess = len(kept) - self._limits.responses
        self._responses = dict(islice(kept.items(), max(excess, 0), None))


def _copy(desired: Desired) -> Desired:
    return decode(Desired, encode(desired), "the state")
