"""The port that every state store implements, its values, and the rules that no store may bend.

A store remembers four things: the desired state with its last generations, the history, the applied
configuration, and the answers to calls that carried an Idempotency-Key. It must never decide what
traffic should do, and never publish anything: a caller commits first and publishes afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bgproxy.errors import Conflict, Invalid

if TYPE_CHECKING:
    from bgproxy.model import Desired


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store keeps at most; the oldest goes first."""

    history_entries: int = 10_000
    generations: int = 100
    responses: int = 10_000
    response_ttl_s: float = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One thing that moved traffic, or was asked to and did not.

    The store gives the `id`. `commit` also sets both generations; for `record` they are the caller's,
    and equal, because nothing changed.
    """

    id: int = 0
    time: float
    generation_from: int = 0
    generation_to: int = 0
    action: str  # switch, rollback, canary, hold, pool, reload, first_start, ...
    services: tuple[str, ...] = ()
    actor: str
    reason: str = ""
    from_pool: str | None = None
    to_pool: str | None = None
    outcome: str  # done, refused, timed_out, ...
    duration_ms: float = 0.0
    forced: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The answer to a call with an Idempotency-Key; `fingerprint` tells another call with the same key."""

    key: str
    fingerprint: str
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ConfigText:
    """The configuration as it was applied, which need not be what its file says by now."""

    text: str
    source: str


class StateStore(Protocol):
    """Every method may raise `StateError`; one that writes has then changed nothing that it can read back.

    Cancelling a call does not undo it: a caller that must know the outcome shields it.
    """

    async def load(self) -> Desired | None:
        """The newest committed state; None before the first commit, which is generation 1."""

    async def commit(
        self,
        desired: Desired,
        history: HistoryEntry,
        *,
        expected_generation: int,
        idempotency: StoredResponse | None = None,
        config: ConfigText | None = None,
    ) -> HistoryEntry:
        """Write the state and all that belongs to it as one act, on disk before this returns.

        Raises `Conflict` if the stored generation is not `expected_generation` (0: nothing is stored),
        or if the Idempotency-Key has an answer already. Returns the history entry as stored.
        """

    async def record(self, history: HistoryEntry) -> HistoryEntry:
        """Write down what made no generation: a refused switch, a hold that timed out."""

    async def history(
        self, limit: int = 100, before_id: int | None = None, service: str | None = None
    ) -> list[HistoryEntry]:
        """Newest first; `before_id` is the last id of the page before."""

    async def generations(self, limit: int = 100) -> list[Desired]:
        """The last committed states, newest first."""

    async def idempotent(self, key: str) -> StoredResponse | None:
        """The answer that this key got within the last `Limits.response_ttl_s`."""

    async def remember(self, key: str, fingerprint: str, status: int, body: bytes) -> None:
        """Keep the answer to a call that committed nothing; `Conflict` if the key has one already."""

    async def config_text(self) -> ConfigText | None:
        """The configuration to resume with; None before the first was applied."""

    async def set_config(self, text: str, source: str) -> None:
        """Replace the applied configuration without a new generation."""

    async def close(self) -> None:
        """Let go of everything. Closing twice is allowed."""


def require_next(stored: int, expected: int, desired: Desired) -> None:
    """The compare of compare-and-set."""
    if desired.generation != expected + 1:
        raise ValueError(f"generation {desired.generation} cannot follow {expected}: it has to be one more")
    if stored != expected:
        raise Conflict(
            f"the state is at generation {stored}, not {expected}: somebody changed it first. "
            "Look at the present state and send the change again.",
            generation=stored,
            expected_generation=expected,
        )


def key_is_taken(key: str) -> Conflict:
    return Conflict(
        f"the Idempotency-Key {key!r} already has an answer: repeat the call to get it, or use a new key."
    )


def require_limit(limit: int) -> None:
    if limit < 1:
        raise Invalid(f"limit is {limit}: ask for at least 1 entry.")


def require_text(**values: str) -> None:
    """Refuse what no store can write: a lone surrogate, as undecodable bytes of a header leave it."""
    for name, value in values.items():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Invalid(f"{name} is not valid Unicode: {error.reason} at {error.start}.") from error
