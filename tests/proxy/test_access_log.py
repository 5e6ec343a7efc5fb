"""Lines leave the loop at once, arrive whole and in order, and their loss is bounded, counted and told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from bgproxy import model
from bgproxy.observability import access
from bgproxy.observability.access import Entry, Format
from bgproxy.observability.line_file import LineFile
from bgproxy.proxy import access_log
from bgproxy.proxy.access_log import AccessLog
from bgproxy.shared_memory.counters import LOG_DROPPED
from bgproxy.shared_memory.layout import PAGE
from tests.observability.entries import entry

PATIENCE_S = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def new_cells() -> memoryview[int]:
    """A worker's block that nobody has written to."""
    return memoryview(bytearray(PAGE)).cast("Q")


@contextlib.asynccontextmanager
async def logging_to(path: Path | str) -> AsyncIterator[AccessLog]:
    log = AccessLog(model.AccessLog(path=str(path)), new_cells())
    try:
        yield log
    finally:
        log.close()


def targets(path: Path) -> list[str]:
    return [json.loads(line)["target"] for line in path.read_text().splitlines()]


async def until_written(path: Path, lines: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def stuck_pipe(path: Path) -> Iterator[int]:
    """A pipe whose reader does not read; yields its end."""
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield end
    finally:
        os.close(end)


async def test_lines_are_written_in_order_within_a_moment(path: Path) -> None:
    async with logging_to(path) as log:
        started = time.monotonic()
        for number in range(120):  # more than one slice
            log.tell(entry(target=b"/%d" % number))
        assert targets(path) == []
        await until_written(path, 120)
        assert time.monotonic() - started >= access_log.BATCH_S / 2
        assert targets(path) == [f"/{number}" for number in range(120)]
        assert log.dropped == 0


async def test_many_lines_do_not_wait_for_the_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "BATCH_S", 3600)
    async with logging_to(path) as log:
        for _ in range(access_log.BATCH_LINES):
            log.tell(entry())
        await until_written(path, access_log.BATCH_LINES)


async def test_the_format_is_the_configured_one(path: Path) -> None:
    log = AccessLog(model.AccessLog(path=str(path), format="combined"), new_cells())
    log.tell(entry())
    log.close()
    assert path.read_text().startswith("192.0.2.1 - - [")


async def test_the_end_writes_what_was_noted(path: Path) -> None:
    async with logging_to(path) as log:
        for _ in range(10_000):
            log.tell(entry())
    assert len(targets(path)) == 10_000
    assert not [thread for thread in threading.enumerate() if thread.name == "access-log"]


async def test_no_line_is_lost_by_a_rotation_and_those_before_it_are_in_the_old_file(path: Path) -> None:
    async with logging_to(path) as log:
        for number in range(2000):
            if number % 500 == 250:
                old = path.rename(path.with_suffix(f".{number}"))
                log.reopen()
                await until_written(path, 0)
                assert old.exists()
            log.tell(entry(target=b"/%d" % number))
            if number % 500 == 100:
                await asyncio.sleep(0)
    files = [path.with_suffix(f".{number}") for number in (250, 750, 1250, 1750)] + [path]
    found = [targets(file) for file in files]
    assert [len(lines) for lines in found] == [250, 500, 500, 500, 250]
    assert [line for lines in found for line in lines] == [f"/{number}" for number in range(2000)]


async def test_a_rotation_into_nowhere_keeps_the_file_and_says_so(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with logging_to(path) as log:
        log.tell(entry(target=b"/1"))
        old = path.rename(path.with_suffix(".1"))
        path.mkdir()
        log.reopen()
        log.tell(entry(target=b"/2"))
        await until_written(old, 2)
        assert log.dropped == 0
    assert f"cannot write {path}" in caplog.text
    assert "kept" in caplog.text


async def test_a_file_that_cannot_be_opened_stops_no_request_and_is_written_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "access.log"
    async with logging_to(path) as log:
        assert f"cannot write {path}" in caplog.text
        log.tell(entry(target=b"/lost"))
        async with asyncio.timeout(PATIENCE_S):
            while not log.dropped:
                await asyncio.sleep(0.01)
        path.parent.mkdir()
        log.tell(entry(target=b"/found"))
        await until_written(path, 1)
        assert targets(path) == ["/found"]
        assert log.dropped == 1


async def test_a_full_disk_costs_lines_only_until_there_is_room_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with logging_to(path) as log:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            log.tell(entry(target=b"/lost"))
            async with asyncio.timeout(PATIENCE_S):
                while not log.dropped:
                    await asyncio.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.tell(entry(target=b"/found"))
        await until_written(path, 1)
        assert targets(path) == ["/found"]
    assert "lines lost: 1 (File too large)" in caplog.text


async def test_a_reader_that_stands_still_costs_no_time_and_bounded_memory(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "BACKLOG_BYTES", 500 * 1024)
    monkeypatch.setattr(access_log, "FINAL_FLUSH_S", 0.05)
    with stuck_pipe(path):
        log = AccessLog(model.AccessLog(path=str(path)), new_cells())
        told = entry(user_agent=b"x" * 3000)
        for _ in range(100_000):
            log.tell(told)
        each_bytes = access_log.LINE_BYTES + len(access.line_of(told, log.form))
        assert 0 < (100_000 - log.dropped) * each_bytes - access_log.BACKLOG_BYTES <= each_bytes
        started = time.monotonic()
        log.close()
        assert time.monotonic() - started < 1
    assert "it takes lines more slowly than requests end" in caplog.text
    assert "the last lines are not written" in caplog.text


async def test_lines_that_are_lost_are_counted_on_from_the_worker_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_log, "BATCH_S", 0.001)
    cells = new_cells()
    cells[LOG_DROPPED] = 5
    log = AccessLog(model.AccessLog(path="/dev/full"), cells)
    log.tell(entry())
    log.tell(entry())
    async with asyncio.timeout(PATIENCE_S):
        while cells[LOG_DROPPED] < 7:
            await asyncio.sleep(0.001)
    log.tell(entry())
    log.close()
    assert (log.dropped, cells[LOG_DROPPED]) == (3, 8)


async def test_a_reader_that_goes_on_reading_gets_lines_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "BACKLOG_BYTES", 1000 * 1024)
    with stuck_pipe(path) as end:
        async with logging_to(path) as log:
            while not log.dropped:
                log.tell(entry())
            received = b""
            async with asyncio.timeout(PATIENCE_S):
                while b"/again" not in received:
                    with contextlib.suppress(BlockingIOError):
                        received += os.read(end, 1 << 20)
                    log.tell(entry(target=b"/again"))
                    await asyncio.sleep(0.001)
            lines = received[: received.rfind(b"\n")].splitlines()
            assert all(json.loads(line) for line in lines)
            os.set_blocking(end, True)
            drain = threading.Thread(target=lambda: [*iter(lambda: os.read(end, 1 << 20), b"")])
            drain.start()
        drain.join()


async def test_losses_are_told_at_most_every_ten_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "BATCH_S", 0.01)
    async with logging_to("/dev/full") as log:
        async with asyncio.timeout(PATIENCE_S):
            while log.dropped < 20:
                log.tell(entry())
                await asyncio.sleep(0.01)
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "No space left on device" in warnings[0].getMessage()
    counts = [int(record.getMessage().split("lost: ")[1].split()[0]) for record in caplog.records]
    assert sum(counts) == log.dropped


async def test_the_thread_only_writes_what_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients would otherwise wait while it keeps the interpreter to make lines."""
    made: list[threading.Thread] = []
    written: list[tuple[threading.Thread, Sequence[bytes]]] = []
    line_of, append = access.line_of, LineFile.append

    def make(told: Entry, form: Format) -> bytes:
        made.append(threading.current_thread())
        return line_of(told, form)

    def write(file: LineFile, lines: Sequence[bytes]) -> int:
        written.append((threading.current_thread(), lines))
        return append(file, lines)

    monkeypatch.setattr(access, "line_of", make)
    monkeypatch.setattr(LineFile, "append", write)
    async with logging_to(path) as log:
        for _ in range(access_log.BATCH_LINES):
            log.tell(entry())
        await until_written(path, access_log.BATCH_LINES)
    assert set(made) == {threading.current_thread()}
    ((thread, lines),) = written
    assert thread.name == "access-log"
    assert lines == [line_of(entry(), log.form)] * access_log.BATCH_LINES


TO_STDOUT = """
import asyncio
import logging
from bgproxy import model
from bgproxy.proxy.access_log import AccessLog
from tests.observability.entries import entry

async def main():
    log = AccessLog(model.AccessLog(), memoryview(bytearray(4096)).cast("Q"))
    log.tell(entry())
    log.reopen()
    log.tell(entry())
    log.close()

logging.basicConfig()
asyncio.run(main())
"""


def test_standard_output_is_that_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", TO_STDOUT], stdout=subprocess.PIPE, check=True)
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [200, 200]


def test_nobody_behind_standard_output_is_survived() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TO_STDOUT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert "access log stdout: lines lost: 2 (Broken pipe)" in errors
