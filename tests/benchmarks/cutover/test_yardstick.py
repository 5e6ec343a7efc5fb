import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.cutover import yardstick
from benchmarks.cutover.yardstick import Yardstick
from bgproxy.state.sqlite import SCHEMA


def a_state(path: Path) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(SCHEMA)
        db.executemany("INSERT INTO generations VALUES (?, ?, 0)", [(1, "old"), (2, "new")])
        db.executemany("INSERT INTO history (services, entry) VALUES (?, ?)", [("web", "e1"), ("web", "e2")])
    return path


def test_the_newest_switch_is_what_is_committed_again(tmp_path: Path) -> None:
    assert yardstick.newest(a_state(tmp_path / "state.db")) == ("new", "web", "e2")


def test_each_commit_takes_time_and_is_on_the_disk(tmp_path: Path) -> None:
    with Yardstick.opened(a_state(tmp_path / "state.db")) as opened:
        first, second = opened.commit(), opened.commit()
    assert first.began < first.ended <= second.began < second.ended
    with closing(sqlite3.connect(tmp_path / "yardstick.db")) as db:
        assert db.execute("SELECT desired FROM generations").fetchall() == [("new",), ("new",)]
        assert db.execute("SELECT count(*) FROM history").fetchone() == (2,)
