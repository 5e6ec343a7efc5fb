"""The command check: runs the operator's program against one upstream and judges its exit status.

Never uses a shell, never lets a program outlive its check, and keeps no more of what the program
writes than the end of its standard error.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress
from subprocess import DEVNULL, PIPE
from typing import cast

from bgproxy.config.address import parse_address

STDERR_TAIL_BYTES = 4096
REASON_LINE_CHARS = 200
REAP_TIMEOUT_S = 1.0  # a killed program that hangs in the kernel is left to the loop

_PLACEHOLDER = re.compile(r"\{(address|host|port)\}")


async def run_command(command: tuple[str, ...], address: str) -> tuple[bool, str]:
    """Whether `command` succeeded, and why not. Cancelling it kills the program's process group.

    It has ended when it has exited and nobody holds its standard error open any more.
    """
    argv = _fill_in(command, address)
    loop = asyncio.get_running_loop()
    # A task, because a start that is cancelled half way leaves the program running.
    starting = loop.create_task(
        loop.subprocess_exec(
            lambda: _Program(loop),
            *argv,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env={**os.environ, "BGPROXY_UPSTREAM": address},
            start_new_session=True,
        )
    )
    try:
        transport, program = await asyncio.shield(starting)
        await program.ended
    except OSError as error:
        return False, f"cannot run '{argv[0]}': {os.strerror(error.errno or 0).lower()}"
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            await _kill(*starting.result())
        raise
    transport.close()
    return _judge(cast("int", transport.get_returncode()), program.stderr_tail)


# Private


async def _kill(transport: asyncio.SubprocessTransport, program: _Program) -> None:
    with suppress(ProcessLookupError):  # it ended at the same moment
        os.killpg(transport.get_pid(), signal.SIGKILL)
    await asyncio.wait([program.exited], timeout=REAP_TIMEOUT_S)
    transport.close()


class _Program(asyncio.SubprocessProtocol):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.stderr_tail = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - it is stderr
        self.stderr_tail = (self.stderr_tail + data)[-STDERR_TAIL_BYTES:]

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the status says more
        if not self.ended.done():
            self.ended.set_result(None)


def _fill_in(command: tuple[str, ...], address: str) -> list[str]:
    """A unix socket's path stands in for the host; it has no port."""
    parts = parse_address(address)
    values = {
        "address": address,
        "host": parts.path or parts.host,
        "port": str(parts.port) if parts.port else "",
    }
    return [_PLACEHOLDER.sub(lambda match: values[match[1]], argument) for argument in command]


def _judge(status: int, stderr: bytes) -> tuple[bool, str]:
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    lines = stderr.decode(errors="replace").strip().splitlines()
    if status == 0 or not lines:
        return status == 0, how
    return False, f"{how}: {lines[-1].strip()[:REASON_LINE_CHARS]}"
