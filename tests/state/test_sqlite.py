from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bgproxy.errors import StateError
from bgproxy.state import sqlite
from bgproxy.state.base import ConfigText, StoredResponse
from bgproxy.state.sqlite import SqliteStore
from tests.state.examples import commit_up_to, desired, entry, run_child, start_child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path)
    yield store
    await store.close()


async def test_everything_is_there_after_a_restart(path: Path) -> None:
    store = await SqliteStore.open(path)
    response = StoredResponse("key", "print", 200, b"{}")
    stored = await store.commit(
        desired(1), entry(), expected_generation=0, idempotency=response, config=ConfigText("a: 1", "file")
    )
    await store.close()
    store = await SqliteStore.open(path)
    assert await store.load() == desired(1)
    assert await store.history() == [stored]
    assert await store.idempotent("key") == response
    assert await store.config_text() == ConfigText("a: 1", "file")
    await commit_up_to(store, 2)
    await store.close()


async def test_every_commit_is_synced(store: SqliteStore) -> None:
    """SQLite's 2 is FULL: the write-ahead log is synced at every commit, not only at checkpoints."""
    assert await store._run(lambda: store._db.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert await store._run(lambda: store._db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)


async def test_an_acknowledged_commit_survives_kill_9(path: Path) -> None:
    """Whatever the child was doing: what it said is there, whole, with all that was committed with it."""
    dice = random.Random(9)
    before = 0
    for _ in range(6):
        acknowledged = _kill_after(path, lines=dice.randrange(1, 40), patience_s=10.0) or before
        store = await SqliteStore.open(path)
        newest = await store.load()
        assert newest
        generation = newest.generation
        assert acknowledged <= generation <= acknowledged + 1
        assert newest == desired(generation)
        name = str(generation)
        assert [(e.generation_to, e.reason) for e in await store.history(1)] == [(generation, name)]
        assert len(await store.history(1000)) == generation
        assert await store.idempotent(name) == StoredResponse(name, name, 200, name.encode())
        assert await store.idempotent(str(generation + 1)) is None
        assert await store.config_text() == ConfigText(name, "child")
        await store.close()
        before = generation
    assert before > 6


async def test_a_first_start_that_is_killed_can_be_started_again(path: Path, tmp_path: Path) -> None:
    dice = random.Random(9)
    for number in range(6):
        path = tmp_path / str(number) / "state.db"
        acknowledged = _kill_after(path, lines=1, patience_s=dice.uniform(0, 0.01))
        store = await SqliteStore.open(path)
        newest = await store.load()
        assert (newest.generation if newest else 0) in (acknowledged, acknowledged + 1)
        await store.close()


def _kill_after(path: Path, *, lines: int, patience_s: float) -> int:
    """Kill a committing child after that many lines or that much silence; the last generation it said."""
    with start_child("commit_for_ever", path) as child:
        assert child.stdout
        said = [child.stdout.readline()]
        while len(said) <= lines and select.select([child.stdout], [], [], patience_s)[0]:
            said.append(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read().splitlines()
    assert said[0] == "starting\n"
    return int(said[-1]) if said[1:] else 0


async def test_a_file_that_cannot_grow_fails_the_commit_whole_and_the_store_goes_on(path: Path) -> None:
    *failures, after = run_child("outgrow", path)
    assert len(failures) == 2
    assert all(f"{path}: " in said and "Check the disk" in said for said in failures)
    assert after == "(3, 3)"
    store = await SqliteStore.open(path)
    assert await store.load() == desired(5)
    assert [e.generation_to for e in await store.history()] == [5, 4, 3, 2, 1]
    await store.close()


async def test_a_full_disk_fails_the_commit_whole_and_the_store_goes_on(store: SqliteStore) -> None:
    await commit_up_to(store, 1)
    await store._run(lambda: store._db.execute("PRAGMA max_page_count = 1").fetchall())
    with pytest.raises(StateError, match="Free some space in"):
        await store.commit(desired(2), entry(reason="x" * 50_000), expected_generation=1)
    assert await store.load() == desired(1)
    assert len(await store.history()) == 1
    await store._run(lambda: store._db.execute("PRAGMA max_page_count = 1000000").fetchall())
    await commit_up_to(store, 2)
    assert len(await store.history()) == 2


async def test_the_event_loop_does_not_wait_for_a_slow_disk(store: SqliteStore, path: Path) -> None:
    """A shell that holds the write lock stands for the disk: the commit waits, the loop does not."""
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    commit = asyncio.create_task(store.commit(desired(1), entry(), expected_generation=0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not commit.done()
    shell.execute("ROLLBACK")
    shell.close()
    assert (await commit).generation_to == 1


async def test_a_shell_that_keeps_the_write_lock_is_named_as_the_reason(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.01)
    store = await SqliteStore.open(path)
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="Another program has it open for writing"):
        await commit_up_to(store, 1)
    shell.close()
    await commit_up_to(store, 1)
    await store.close()


async def test_a_backup_can_be_taken_while_bgproxy_runs(store: SqliteStore, path: Path) -> None:
    await commit_up_to(store, 3)
    copy = path.with_name("copy.db")
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    await commit_up_to(store, 4)
    restored = await SqliteStore.open(copy)
    assert await restored.load() == desired(3)
    await restored.close()


async def test_nothing_is_acknowledged_into_a_file_that_was_deleted_or_replaced(
    store: SqliteStore, path: Path
) -> None:
    await commit_up_to(store, 1)
    kept = path.rename(path.with_name("kept.db"))
    with pytest.raises(StateError, match="moved or deleted while bgproxy runs"):
        await commit_up_to(store, 2)
    path.write_bytes(kept.read_bytes())
    with pytest.raises(StateError, match="was replaced while bgproxy runs"):
        await commit_up_to(store, 2)
    kept.rename(path)
    await commit_up_to(store, 2)


async def test_nothing_is_acknowledged_into_a_file_that_was_truncated(store: SqliteStore, path: Path) -> None:
    await commit_up_to(store, 1)
    os.truncate(path, 0)
    with pytest.raises(StateError, match="was truncated while bgproxy runs"):
        await commit_up_to(store, 2)


async def test_a_history_entry_that_cannot_be_read_is_named(store: SqliteStore, path: Path) -> None:
    await commit_up_to(store, 2)
    shell = sqlite3.connect(path)
    with shell:
        shell.execute("UPDATE history SET entry = x'ff' WHERE id = 1")
    shell.close()
    with pytest.raises(StateError, match=f"{path}, history entry 1 is not JSON"):
        await store.history()
    assert [e.id for e in await store.history(1)] == [2]


async def test_a_store_that_could_not_be_opened_lets_go_of_everything(path: Path) -> None:
    path.write_bytes(b"not a database")
    for _ in range(2):
        with pytest.raises(StateError, match="not a state file"):
            await SqliteStore.open(path)
    path.unlink()
    await (await SqliteStore.open(path)).close()
