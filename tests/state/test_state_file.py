from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgproxy.errors import StateError
from bgproxy.model import Desired
from bgproxy.state.base import ConfigText
from bgproxy.state.sqlite import SqliteStore
from tests.state.examples import commit_up_to, desired, run_child, start_child

PAGE_BYTES = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """With a space, so that the commands in the messages have something to quote."""
    return tmp_path / "my state" / "state.db"


@pytest.fixture
async def whole(path: Path) -> bytes:
    """A state file of some pages at generation 40, closed."""
    store = await SqliteStore.open(path)
    await store.set_config("services: {}\n" * 20, "file")
    await commit_up_to(store, 40)
    await store.close()
    assert not Path(f"{path}-wal").exists()
    return path.read_bytes()


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """Where nobody gets to, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


async def refusal(path: Path) -> str:
    with pytest.raises(StateError) as caught:
        await SqliteStore.open(path)
    assert str(path) in caught.value.detail
    return caught.value.detail


async def remembered(path: Path) -> tuple[Desired | None, ConfigText | None]:
    store = await SqliteStore.open(path)
    try:
        return await store.load(), await store.config_text()
    finally:
        await store.close()


async def test_the_file_is_created_for_its_owner_alone_and_is_recognisable(path: Path) -> None:
    previous = os.umask(0)
    try:
        store = await SqliteStore.open(path)
        await commit_up_to(store, 1)
    finally:
        os.umask(previous)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    await store.close()
    assert modes == dict.fromkeys(["state.db", "state.db-shm", "state.db-wal", "state.db.lock"], 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_bytes()[60:72] == b"\0\0\0\x01\0\0\0\0bgpx"


@pytest.mark.usefixtures("whole")
async def test_a_restored_backup_is_made_private_again(path: Path) -> None:
    path.chmod(0o644)
    assert (await remembered(path))[0] == desired(40)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_directory_whose_parent_is_missing_is_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "not" / "here" / "state.db"
    said = await refusal(path)
    assert f"mkdir -p {path.parent}" in said
    assert f"because {tmp_path / 'not'} does not exist" in said
    assert list(tmp_path.iterdir()) == []


async def test_a_path_through_a_file_or_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    through = await refusal(tmp_path / "file" / "state.db")
    assert "Not a directory" in through
    assert f"{tmp_path / 'file'} has to be a directory" in through
    further = await refusal(tmp_path / "file" / "further" / "state.db")
    assert f"because {tmp_path / 'file'} is not a directory" in further
    (tmp_path / "state.db").mkdir()
    itself = await refusal(tmp_path / "state.db")
    assert "Is a directory" in itself
    assert f"such as {tmp_path / 'state.db' / 'state.db'}" in itself
    assert not any("owner" in said for said in (through, further, itself))


def test_a_directory_that_cannot_be_created_says_who_refuses_and_what_to_do(public_directory: Path) -> None:
    path = public_directory / "closed" / "bgproxy" / "state.db"
    path.parent.parent.mkdir(mode=0o555)
    (said,) = run_child("open_as_nobody", path)
    assert f"cannot be created in {path.parent.parent}: Permission denied" in said
    assert said.endswith(f" {path.parent}`), or correct `state: path`.")
    assert "install -d -m 700 -o " in said


def test_a_directory_that_cannot_be_written_is_refused(public_directory: Path) -> None:
    path = public_directory / "closed" / "state.db"
    path.parent.mkdir(mode=0o555)
    (said,) = run_child("open_as_nobody", path)
    assert said.startswith(f"{path} cannot be used: Permission denied ({path}.lock)")
    assert f"ls -ld {path.parent}" in said


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_file_that_cannot_be_read_and_written_is_refused(public_directory: Path, mode: int) -> None:
    path = public_directory / "open" / "state.db"
    path.parent.mkdir()
    path.parent.chmod(0o777)
    assert run_child("open_as_nobody", path) == ["opened"]
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    (said,) = run_child("open_as_nobody", path)
    assert said.startswith(f"{path} cannot be used: Permission denied ({path})")


async def test_two_processes_never_share_a_state(path: Path) -> None:
    """And the second may start the moment that the first was killed."""
    with start_child("hold", path) as child:
        assert child.stdout
        assert child.stdout.readline() == "open\n"
        assert f"process {child.pid}" in await refusal(path)
        child.send_signal(signal.SIGKILL)
    store = await SqliteStore.open(path)
    assert "another bgproxy" in await refusal(path)
    await commit_up_to(store, 1)
    await store.close()


async def test_an_empty_file_is_refused_because_bgproxy_never_leaves_one(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert "is empty" in await refusal(path)
    assert path.stat().st_size == 0


async def test_a_draft_that_a_crash_left_behind_is_made_anew(path: Path) -> None:
    path.parent.mkdir()
    Path(f"{path}.new").write_bytes(b"half")
    assert await remembered(path) == (None, None)
    assert sorted(file.name for file in path.parent.iterdir()) == ["state.db", "state.db.lock"]


async def test_a_write_ahead_log_without_its_file_is_not_a_first_start(path: Path) -> None:
    path.parent.mkdir()
    Path(f"{path}-wal").write_bytes(b"the last changes")
    said = await refusal(path)
    assert "is missing, but state.db-wal" in said
    assert f"mv '{path}-wal' '{path}.damaged'" in said
    assert not path.exists()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 2", r"newer bgproxy \(schema 2; this one knows 1\)"),
        ("PRAGMA user_version = 0", "schema 0, which never existed"),
        ("PRAGMA application_id = 0", "not one of bgproxy's"),
        ("DROP TABLE generations", "is damaged .no such table: generations"),
        ("UPDATE generations SET desired = replace(desired, 'green', 'blues')", "40 does not match its checksum"),
        ("UPDATE generations SET desired = x'ff' WHERE generation = 40", "40 does not match its checksum"),
        ("UPDATE generations SET generation = 90 WHERE generation = 40", "says that it is generation 40"),
        ("UPDATE config SET text = 'services: {a: 1}'", "the configuration does not match"),
        ("UPDATE config SET source = 'other'", "the configuration does not match"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("whole")
async def test_a_file_that_is_not_what_bgproxy_wrote_is_refused(
    path: Path, statement: str, message: str
) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()
    said = await refusal(path)
    assert re.search(message, said)
    assert f"mv '{path}' '{path}.damaged'" in said


@pytest.mark.usefixtures("whole")
async def test_a_state_with_a_field_of_a_newer_version_names_the_field(path: Path) -> None:
    text = '{"generation":41,"services":{"web":{"active":"blue","mirror":1}}}'
    database = sqlite3.connect(path)
    database.create_function("crc32", 1, lambda value: __import__("zlib").crc32(value.encode()))
    with database:
        database.execute("INSERT INTO generations VALUES (41, ?, crc32(?))", (text, text))
    database.close()
    assert "services.web.mirror is not a field of ServiceState" in await refusal(path)


@pytest.mark.parametrize("content", [b"SQLite format 3\0", b"state: {}\n" * 500, b"\0" * 8192])
async def test_something_else_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert "is damaged, or not a state file" in await refusal(path)
    assert path.read_bytes() == content


async def test_a_truncated_file_is_refused(path: Path, whole: bytes) -> None:
    sizes = [1, 99, 100, 1000, *range(PAGE_BYTES, len(whole), PAGE_BYTES)]
    for size in sizes:
        path.write_bytes(whole[:size])
        await refusal(path)


async def test_damage_anywhere_is_refused_or_harmless(path: Path, whole: bytes) -> None:
    """Never another state, and never an empty one: the state and the configuration are right or refused."""
    sound = (desired(40), ConfigText("services: {}\n" * 20, "file"))
    refused = 0
    damages = [(offset, 16) for offset in range(0, len(whole), 487)]
    damages += [(page, PAGE_BYTES) for page in range(0, len(whole), PAGE_BYTES)]
    for offset, size in damages:
        damaged = bytearray(whole)
        damaged[offset : offset + size] = bytes(byte ^ 0xFF for byte in whole[offset : offset + size])
        path.write_bytes(damaged)
        try:
            found = await remembered(path)
        except StateError as error:
            assert str(path) in error.detail  # noqa: PT017 - both outcomes are right
            refused += 1
        else:
            assert found == sound, f"{size} bytes at {offset}"
    assert 10 < refused < len(damages)


async def test_the_way_out_that_the_message_shows_works(path: Path, whole: bytes) -> None:
    """Move it aside and restore a backup; or start without one."""
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    path.write_bytes(whole[: len(whole) // 2])
    said = await refusal(path)
    move, restore = re.findall(r"`([^`]+ [^`]+)`", said)
    subprocess.run(move, shell=True, check=True)  # noqa: S602 - as a person would
    assert await remembered(path) == (None, None)
    path.unlink()
    subprocess.run(restore.replace("BACKUP", f"'{backup}'"), shell=True, check=True)  # noqa: S602
    assert (await remembered(path))[0] == desired(40)
    assert (Path(f"{path}.damaged") / "state.db").stat().st_size == len(whole) // 2
