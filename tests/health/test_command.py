import asyncio
import os
import select
from pathlib import Path

import pytest

from bgproxy.health.command import REASON_LINE_CHARS, run_command

ADDRESS = "[2001:db8::1]:8000"


async def test_exit_status_zero_is_a_success() -> None:
    assert await run_command(("true",), ADDRESS) == (True, "exit status 0")


async def test_the_reason_is_the_last_line_on_standard_error() -> None:
    command = ("sh", "-c", "echo noise; echo first >&2; echo 'database is down' >&2; exit 3")
    assert await run_command(command, ADDRESS) == (False, "exit status 3: database is down")


async def test_an_endless_standard_error_is_kept_short() -> None:
    command = ("sh", "-c", "(printf start; head -c 3000000 /dev/zero | tr '\\0' x) >&2; exit 1")
    ok, reason = await run_command(command, ADDRESS)
    assert (ok, reason) == (False, "exit status 1: " + "x" * REASON_LINE_CHARS)


async def test_a_program_killed_by_a_signal_says_so() -> None:
    assert await run_command(("sh", "-c", "kill -9 $$"), ADDRESS) == (False, "killed by signal 9")


async def test_placeholders_are_filled_in_without_a_shell(tmp_path: Path) -> None:
    script = tmp_path / "check"
    script.write_text('#!/bin/sh\necho "$# $1 $2 $3 $4 $BGPROXY_UPSTREAM" >&2; exit 1\n')
    script.chmod(0o755)
    command = (str(script), "{address}", "{host}", "port={port}", '$(id) {other} {"a": 1}')
    _, reason = await run_command(command, ADDRESS)
    expected = '4 [2001:db8::1]:8000 2001:db8::1 port=8000 $(id) {other} {"a": 1} [2001:db8::1]:8000'
    assert reason == f"exit status 1: {expected}"


async def test_a_unix_socket_has_its_path_for_a_host_and_no_port() -> None:
    command = ("sh", "-c", 'echo "$0 $1." >&2; exit 1', "{host}", "{port}")
    assert await run_command(command, "unix:/run/app.sock") == (False, "exit status 1: /run/app.sock .")


async def test_a_missing_program_is_a_failure() -> None:
    reason = "cannot run '/nonexistent/probe': no such file or directory"
    assert await run_command(("/nonexistent/probe",), ADDRESS) == (False, reason)


class Fifo:
    """Held open by a grandchild of the check: when it ends, nobody of the process group is left."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.command = ("sh", "-c", f"(echo up; exec sleep 600) >{path} & wait")

    async def read_to_its_end(self) -> bytes:
        reader = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self.reading, "rb", 0)
        )
        try:
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            pipe.close()


async def test_a_timeout_kills_the_whole_process_group(tmp_path: Path) -> None:
    fifo = Fifo(tmp_path / "fifo")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await run_command(fifo.command, ADDRESS)
    assert await fifo.read_to_its_end() in {b"up\n", b""}


async def test_a_program_whose_start_is_cancelled_half_way_is_killed_too(tmp_path: Path) -> None:
    """The loop stands still while the program starts, so that it cannot learn that it did."""
    fifo = Fifo(tmp_path / "fifo")
    check = asyncio.create_task(run_command(fifo.command, ADDRESS))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert select.select([fifo.reading], [], [], 5)[0]
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    assert await fifo.read_to_its_end() == b"up\n"
