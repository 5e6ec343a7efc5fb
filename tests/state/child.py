"""What other processes do to a state file: `python -m tests.state.child ACT PATH`, one line of output per fact."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from itertools import count
from pathlib import Path

from bgproxy.errors import StateError
from bgproxy.state.base import ConfigText, StoredResponse
from bgproxy.state.sqlite import SqliteStore
from tests.state.examples import commit_up_to, desired, entry

NOBODY = 65534


def say(fact: object) -> None:
    os.write(1, f"{fact}\n".encode())


async def commit_for_ever(path: str) -> None:
    """Says every generation once it is acknowledged."""
    say("starting")
    store = await SqliteStore.open(path)
    newest = await store.load()
    for generation in count(newest.generation + 1 if newest else 1):
        name = str(generation)
        await store.commit(
            desired(generation),
            entry(reason=name),
            expected_generation=generation - 1,
            idempotency=StoredResponse(name, name, 200, name.encode()),
            config=ConfigText(name, "child"),
        )
        say(generation)


async def hold(path: str) -> None:
    await SqliteStore.open(path)
    say("open")
    sys.stdin.read()


async def outgrow(path: str) -> None:
    """Commits while no file may grow, then again when files may."""
    store = await SqliteStore.open(path)
    await commit_up_to(store, 3)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size, hard))
    for _ in range(2):
        try:
            await store.commit(desired(4), entry(), expected_generation=3)
        except StateError as error:
            say(error.detail)
    newest = await store.load()
    say((newest.generation if newest else 0, len(await store.history())))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await commit_up_to(store, 5)
    await store.close()


async def open_as_nobody(path: str) -> None:
    """Permissions mean nothing to root, so it becomes somebody to whom they do."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        store = await SqliteStore.open(path)
    except StateError as error:
        say(error.detail)
    else:
        await store.close()
        say("opened")


if __name__ == "__main__":
    acts = {act.__name__: act for act in (commit_for_ever, hold, outgrow, open_as_nobody)}
    asyncio.run(acts[sys.argv[1]](sys.argv[2]))
