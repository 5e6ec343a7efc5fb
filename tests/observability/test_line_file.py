"""A file that is shared, rotated, deleted, full or gone."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgproxy.observability.line_file import LineFile

# Appends its share of numbered lines in several writes, as one of several processes.
WRITER = """
import sys
from bgproxy.observability.line_file import LineFile
path, name, sizes = sys.argv[1], sys.argv[2], (10, 300, 1500)
file = LineFile(path)
file.open()
for batch in range(40):
    lines = [f"{name} {batch} {'x' * sizes[number % 3]}\\n".encode() for number in range(50)]
    assert file.append(lines) == 0, file.trouble
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[LineFile]:
    file = LineFile(str(tmp_path / "access.log"))
    file.open()
    yield file
    file.close()


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """A disk that is full once a file has this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("old\n")
    file = LineFile(str(path))
    assert file.append([b"a\n", b"b\n"]) == 0
    assert file.append([b"c\n"]) == 0
    file.close()
    assert path.read_text() == "old\na\nb\nc\n"


def test_a_new_file_is_for_its_owner_and_group_only(file: LineFile) -> None:
    assert stat.S_IMODE(Path(file.path).stat().st_mode) == 0o640


def test_a_batch_is_one_write_to_a_file(file: LineFile, monkeypatch: pytest.MonkeyPatch) -> None:
    write, sizes = os.write, []

    def noted(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", noted)
    file.append([b"x" * 999 + b"\n"] * 200)
    assert sizes == [200_000]


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_processes_that_share_it_do_not_tear_each_others_lines(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "access.log"
    received = bytearray()
    reader = None
    if kind == "pipe":
        os.mkfifo(path)
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(end, True)
        held = os.open(path, os.O_WRONLY)  # until all of them have opened it

        def read() -> None:
            while data := os.read(end, 65536):
                received.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    if reader is not None:
        os.close(held)
        reader.join()
        os.close(end)
    else:
        received.extend(path.read_bytes())
    lines = bytes(received).decode().splitlines()
    expected = [
        f"{name} {batch} {'x' * (10, 300, 1500)[number % 3]}"
        for name in "abc"
        for batch in range(40)
        for number in range(50)
    ]
    assert sorted(lines) == sorted(expected)


def test_a_rotated_file_gets_the_lines_until_it_is_opened_again(file: LineFile) -> None:
    path = Path(file.path)
    file.append([b"1\n"])
    old = path.rename(path.with_suffix(".1"))
    file.append([b"2\n"])
    file.open()
    file.append([b"3\n"])
    assert (old.read_text(), path.read_text()) == ("1\n2\n", "3\n")


def test_a_file_that_cannot_be_opened_again_is_kept(file: LineFile, tmp_path: Path) -> None:
    path = Path(file.path)
    old = path.rename(tmp_path / "rotated")
    path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        file.open()
    assert file.append([b"1\n"]) == 0
    assert old.read_text() == "1\n"


def test_a_deleted_file_is_made_again(file: LineFile) -> None:
    path = Path(file.path)
    file.append([b"1\n"])
    path.unlink()
    assert file.append([b"2\n"]) == 0
    assert path.read_text() == "2\n"


def test_a_vanished_directory_costs_lines_until_it_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    file = LineFile(str(directory / "access.log"))
    file.open()
    Path(file.path).unlink()
    directory.rmdir()
    assert file.append([b"1\n", b"2\n"]) == 2
    assert file.trouble is not None
    assert "directory does not exist" in str(file.trouble)
    directory.mkdir()
    assert file.append([b"3\n"]) == 0
    assert Path(file.path).read_text() == "3\n"
    file.close()


def test_a_full_disk_costs_the_lines_that_do_not_fit_and_tears_none_afterwards(file: LineFile) -> None:
    with files_up_to(25):
        assert file.append([b"line one\n", b"line two\n", b"line three\n", b"line four\n"]) == 2
        assert file.trouble is not None
        assert file.append([b"line five\n"]) == 1
    assert file.append([b"line six\n", b"line seven\n"]) == 0
    assert file.append([b"line eight\n"]) == 0
    lines = Path(file.path).read_text().splitlines()
    assert lines == ["line one", "line two", "line th", "line six", "line seven", "line eight"]


def test_a_device_without_room_is_survived() -> None:
    file = LineFile("/dev/full")
    file.open()
    assert file.append([b"1\n", b"2\n"]) == 2
    assert file.trouble is not None
    assert file.trouble.errno == errno.ENOSPC
    file.close()


def test_a_pipe_that_is_full_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LineFile(str(path))
    file.open()
    lines = [b"%04d%b\n" % (number, b"x" * 1000) for number in range(500)]  # more than a pipe takes
    lost: list[int] = []

    def write() -> None:
        lost.append(file.append(lines))
        file.close()

    writer = threading.Thread(target=write)
    writer.start()
    os.set_blocking(end, True)
    received = b"".join(iter(lambda: os.read(end, 65536), b""))
    writer.join()
    os.close(end)
    assert lost == [0]
    assert received == b"".join(lines)


def test_a_pipe_whose_reader_has_left_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LineFile(str(path))
    file.open()
    os.close(end)
    assert file.append([b"1\n"]) == 1
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert file.append([b"2\n"]) == 0
    assert os.read(end, 100) == b"2\n"
    os.close(end)
    file.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [("no/such/access.log", "create it"), (".", "directory"), ("pipe", "nobody reads")],
)
def test_a_file_that_cannot_be_opened_is_named_with_what_to_do(tmp_path: Path, name: str, words: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name
    with pytest.raises(OSError, match=words) as caught:
        LineFile(str(path)).open()
    assert str(path) in str(caught.value)


def test_standard_output_is_written_as_it_is() -> None:
    program = (
        "from bgproxy.observability.line_file import LineFile; file = LineFile('stdout'); file.open(); "
        "file.append([b'1\\n']); file.open(); file.append([b'2\\n']); file.close(); print('open')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"1\n2\nopen\n"


def test_a_closed_standard_output_is_not_mistaken_for_what_has_its_number_now(tmp_path: Path) -> None:
    innocent = tmp_path / "innocent"
    program = (
        "import os, sys\n"
        "from bgproxy.observability.line_file import LineFile\n"
        f"assert os.open({str(innocent)!r}, os.O_WRONLY | os.O_CREAT) == 1\n"
        "file = LineFile('stdout')\n"
        "assert file.append([b'1\\n']) == 1\n"
        "sys.exit(str(file.trouble))\n"
    )
    command = f'exec {sys.executable} -c "$0" >&-'
    done = subprocess.run(["sh", "-c", command, program], capture_output=True, check=False)
    assert b"standard output is closed" in done.stderr
    assert innocent.read_bytes() == b""
