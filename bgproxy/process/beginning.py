"""What a controller begins with: the state that was written down, or else what is in force.

A service that carries traffic must never begin anew because a file is gone: what a predecessor had in
force is known from the shared memory, and a state file that has vanished under it is an error.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from bgproxy.config import load
from bgproxy.errors import ConfigError, StateError
from bgproxy.model import Config, Desired, Snapshot
from bgproxy.state.base import ConfigText, HistoryEntry, StateStore
from bgproxy.state.memory import MemoryStore
from bgproxy.state.sqlite import SqliteStore
from bgproxy.switch import compose


async def open_store(config: Config, before: Snapshot | None) -> StateStore:
    """The configured store. `before` is what a predecessor had in force, None at a first start."""
    if config.state_backend == "memory":
        return MemoryStore(None if before is None else compose.recovered(config, before))
    path = Path(config.state_path)
    if before is not None and not path.exists():  # noqa: ASYNC240 - one look, before anything is served
        raise StateError(
            f"the state file {path} has gone while bgproxy was running. Traffic stays as it is (generation "
            f"{before.generation}). Put the file back; or restart bgproxy as a whole, which then begins with "
            "`active:` of the configuration."
        )
    return await SqliteStore.open(path)


async def desired(store: StateStore, config: Config, text: ConfigText, before: Snapshot | None) -> Desired:
    """The stored state under this configuration; what is new in it is written down first."""
    stored = await store.load()
    known = await store.config_text()
    if stored is None:
        after, action, detail = compose.first(config), "first_start", "active pools as configured"
    else:
        after = compose.reconcile(stored, config, None if known is None else _read(known))
        action, detail = "start", "the configuration was changed while bgproxy was down"
    if stored is not None and after == stored:
        if known != text and before is None:
            await store.set_config(text.text, text.source)
        return after
    generation = after.generation + 1
    after = replace(after, generation=generation)
    entry = HistoryEntry(
        time=time.time(),
        action=action,
        services=tuple(config.services),
        actor="bgproxy",
        outcome="done",
        detail=detail,
    )
    await store.commit(after, entry, expected_generation=generation - 1, config=text)
    return after


def _read(known: ConfigText) -> Config | None:
    """The configuration that was applied last; None if it cannot be read any more, in another environment."""
    try:
        return load.parse(known.text, source=known.source, base=Path(known.source).parent)
    except ConfigError:
        return None
