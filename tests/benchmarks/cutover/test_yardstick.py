import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cutover import yardstick
from benchmarks.cutover.yardstick import Yardstick
from bgproxy.state.sqlite import SCHEMA, SqliteStore
from tests.state.examples import desired, entry


class Recorded(sqlite3.Connection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.statements: list[str] = []

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        self.statements.append(sql)
        return super().execute(sql, *arguments)


def a_state(path: Path) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(SCHEMA)
        db.executemany("INSERT INTO generations VALUES (?, ?, 0)", [(1, "old"), (2, "new")])
        db.executemany("INSERT INTO history (services, entry) VALUES (?, ?)", [("web", "e1"), ("web", "e2")])
    return path


def test_the_newest_switch_is_what_is_committed_again(tmp_path: Path) -> None:
    assert yardstick.newest(a_state(tmp_path / "state.db")) == ("new", "web", "e2")


def test_a_commit_is_that_of_the_state_store_statement_for_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the one would be measured with the other's length."""
    connections: list[Recorded] = []

    def connect(*arguments: Any, **options: Any) -> Recorded:
        connections.append(sqlite3_connect(*arguments, factory=Recorded, **options))
        return connections[-1]

    sqlite3_connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)

    async def by_the_store() -> list[str]:
        store = await SqliteStore.open(tmp_path / "state.db")
        (connection,) = [each for each in connections if each.statements][-1:]
        connection.statements.clear()
        await store.commit(desired(1), entry(), expected_generation=0)
        statements = [*connection.statements]
        await store.close()
        return statements

    expected = asyncio.run(by_the_store())
    with Yardstick.opened(tmp_path / "state.db") as opened:
        (connection,) = connections[-1:]
        connection.statements.clear()
        opened.commit()
        assert connection.statements == expected


def test_each_commit_takes_time_and_is_on_the_disk(tmp_path: Path) -> None:
    with Yardstick.opened(a_state(tmp_path / "state.db")) as opened:
        first, second = opened.commit(), opened.commit()
    assert first.began < first.ended <= second.began < second.ended
    with closing(sqlite3.connect(tmp_path / "yardstick.db")) as db:
        assert db.execute("SELECT desired FROM generations").fetchall() == [("new",), ("new",)]
        assert db.execute("SELECT count(*) FROM history").fetchone() == (2,)
