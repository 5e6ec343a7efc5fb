"""Programs as processes on given cores: found, started, awaited, ended. Whatever happens, nothing outlives its context."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.contenders.program import SAID
from benchmarks.scenarios import host

READY_S: Final = 20.0
STOP_S: Final = 10.0
POLL_S: Final = 0.02
CALL_S: Final = 5.0
VERSION_S: Final = 20.0
# Where Debian keeps daemons, and users do not look.
_DAEMONS: Final = "/usr/sbin:/sbin"


class ContenderError(Exception):
    """A program did not start, or is not what it was when it started; says where its log is."""


def find(name: str) -> str | None:
    """Beside this Python, on the path, or where Debian keeps daemons."""
    here = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join([here, os.environ.get("PATH", ""), _DAEMONS]))


def said_version(command: Sequence[str]) -> str:
    """The first version number in what a program says when it is asked for it."""
    program = find(command[0])
    if program is None:
        return "none"
    said = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=False, timeout=VERSION_S
    )
    found = re.search(r"\d+\.\d+[\w.\-+~]*", said.stdout + said.stderr)
    return found[0] if found else "unknown"


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    directory: Path,
    cores: set[int],
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """What it says goes to a file in the directory."""
    pinned = ["taskset", "-c", ",".join(map(str, sorted(cores))), *command]
    with (directory / SAID).open("ab") as log:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=directory,  # not ours, where Python would find our sources first
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            # Its whole session: what it forked must go, too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"{name} did not end within {STOP_S:g} s of SIGTERM and was killed", file=sys.stderr)


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], directory: Path) -> None:
    """Waits for it as long as the process lives, and not for ever."""
    end = time.monotonic() + READY_S
    while not condition():
        late = time.monotonic() > end
        if late or process.poll() is not None:
            what = f"is not ready after {READY_S:g} s" if late else f"ended with {process.returncode}"
            words = "\n".join((directory / SAID).read_text(errors="replace").splitlines()[-12:])
            raise ContenderError(f"{directory.name} {what}:\n{words}")
        time.sleep(POLL_S)


def status(port: int, path: str, authority: Path | None = None) -> int:
    """The status of the answer; 0 for none."""
    try:
        with client(port, authority) as connection:
            return get(connection, path)[0]
    except (OSError, http.client.HTTPException):
        return 0  # it does not listen yet, which is what the caller waits for


@contextmanager
def client(port: int, authority: Path | None = None) -> Iterator[http.client.HTTPConnection]:
    """A connection to loopback; with an `authority` to trust, through TLS."""
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_S)
        if authority is None
        else http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=CALL_S, context=ssl.create_default_context(cafile=authority)
        )
    )
    try:
        yield connection
    finally:
        connection.close()


def get(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Asks the first of the services, where there are many."""
    connection.request("GET", path, headers={"Host": host(0), **(headers or {})})
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers
