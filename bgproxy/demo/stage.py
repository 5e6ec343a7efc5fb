"""The processes of the demonstration: four apps, bgproxy, loads, in a directory of their own.

Whatever happens, nothing of it outlives the stage. It must never decide what is shown on it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from bgproxy.demo.ledger import Crash

CALL_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 10.0
# Below the range from which kernels take the ports of outgoing connections: nothing else takes them
# between the choice and the start.
PORTS: Final = range(15_000, 30_000)
WORKERS: Final = 2
SIDES: Final = {"blue": "v1", "green": "v2"}
UPSTREAMS: Final = 2  # of each side
INTERRUPTIONS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_CONFIG: Final = """\
workers: {workers}
listeners:
  - {{name: public,  bind: "127.0.0.1:{public}"}}
  - {{name: preview, bind: "127.0.0.1:{preview}", preview: true}}
admin: {{bind: "127.0.0.1:{admin}"}}
state: {{backend: sqlite, path: state.db}}
services:
  web:
    active: blue
    pools:
      blue:  {{version: v1, upstreams: {blue}}}
      green: {{version: v2, upstreams: {green}}}
    health: {{path: /health, interval: 200ms, timeout: 1s, healthy_after: 2, unhealthy_after: 2}}
    drain: {{timeout: 5s}}
"""


class StageError(Exception):
    """The demonstration cannot go on; the text says what did not work and where to look."""


class Unreachable(StageError):
    """Somebody did not answer a call."""


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    sent: float
    acked: float


class Stage:
    """A context manager: what was started is killed at its end, and the directory removed unless `keep`."""

    def __init__(self) -> None:
        self.keep = False
        self.directory = Path(tempfile.mkdtemp(prefix="bgproxy-demo-"))
        self.public, self.preview, self.admin, *app_ports = free_ports(3 + len(SIDES) * UPSTREAMS)
        names = [(side, number) for side in SIDES for number in range(1, UPSTREAMS + 1)]
        self.apps = {f"{side}-{number}": port for (side, number), port in zip(names, app_ports, strict=True)}
        self.load_options: list[str] = []  # for clients of the public listener
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with undisturbed():
            kill_all(self._processes.values())
            if not self.keep:
                shutil.rmtree(self.directory)

    # Processes

    def start_apps(self, side: str) -> None:
        """Both upstreams of a side; returns when they accept connections."""
        names = [name for name in self.apps if name.startswith(side)]
        for name in names:
            port = str(self.apps[name])
            journal = str(self.directory / f"{name}.journal")
            self._start(
                name,
                *("bgproxy.demo.app", "--port", port, "--version", SIDES[side], "--name", name),
                *("--journal", journal),
            )
        for name in names:
            self._await_ready(name)

    def start_proxy(self) -> None:
        """bgproxy with a configuration of its own; `is_ready` tells when it serves."""
        path = self.directory / "bgproxy.yaml"
        addresses = {
            side: json.dumps(
                [f"127.0.0.1:{port}" for name, port in self.apps.items() if name.startswith(side)]
            )
            for side in SIDES
        }
        text = _CONFIG.format(
            workers=WORKERS, public=self.public, preview=self.preview, admin=self.admin, **addresses
        )
        path.write_text(text)
        self._start("bgproxy", "bgproxy", "run", "-c", str(path))

    def start_load(
        self, name: str, port: int, *, clients: int, think_s: float, preview: bool = False
    ) -> Path:
        """Closed-loop clients; returns the file of their results."""
        results = self.directory / f"{name}.results"
        options = ["--preview"] if preview else self.load_options
        self._start(
            name,
            *("bgproxy.demo.load", "--port", str(port), "--results", str(results)),
            *("--clients", str(clients), "--think-s", str(think_s), *options),
        )
        return results

    def stop(self, *names: str) -> None:
        """Asks these processes to finish what they do, and waits for their clean ends."""
        for name in names:
            self._processes[name].terminate()
        for name in names:
            try:
                code = self._processes[name].wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise StageError(f"{name} does not end within {STOP_TIMEOUT_S:g} s of SIGTERM") from None
            if code:
                raise StageError(f"{name} ended with exit code {code}:\n{self._last_words(name)}")
            del self._processes[name]

    def check_alive(self) -> None:
        """Raises if a process has ended that nobody has asked to."""
        for name, process in self._processes.items():
            if process.poll():
                raise StageError(
                    f"{name} ended with exit code {process.returncode}:\n{self._last_words(name)}"
                )

    # What one can ask of them

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One call of the admin API, timed as its caller sees it."""
        return _call(self.admin, method, path, body)

    def call_app(self, name: str, path: str) -> Answer:
        return _call(self.apps[name], "POST", path, None)

    def is_ready(self) -> bool:
        """Whether bgproxy answers that every worker serves."""
        self.check_alive()
        try:
            return self.call("GET", "/readyz").status == 200
        except Unreachable:
            return False

    def journal(self, name: str) -> list[str]:
        """What an upstream says it processed."""
        path = self.directory / f"{name}.journal"
        return path.read_text().splitlines() if path.exists() else []

    # Private

    def _start(self, name: str, module: str, *arguments: str) -> None:
        # Undisturbed, so that there is no process that nobody knows.
        with undisturbed(), (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that ^C reaches the story alone, which ends them in order
            )

    def _await_ready(self, name: str) -> None:
        until = time.monotonic() + STOP_TIMEOUT_S
        while "ready" not in self._last_words(name):
            self.check_alive()
            if time.monotonic() > until:
                raise StageError(f"{name} does not accept connections:\n{self._last_words(name)}")
            time.sleep(0.02)

    def _last_words(self, name: str) -> str:
        return "\n".join((self.directory / f"{name}.log").read_text().splitlines()[-12:])


def kill(pid: int) -> Crash:
    """SIGKILL, and the times between which the process ceased to be."""
    descriptor = os.pidfd_open(pid)
    try:
        sent = time.monotonic()
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], STOP_TIMEOUT_S)
        return Crash(sent, time.monotonic())
    finally:
        os.close(descriptor)


def kill_all(leaders: Iterable[subprocess.Popen[bytes]]) -> None:
    """SIGKILL for whole groups: what bgproxy forked must go too, also if bgproxy itself is gone."""
    for process in leaders:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What would interrupt the block does so at its end."""
    came: list[object] = []
    before = {number: signal.signal(number, lambda *_: came.append(_)) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise StageError(f"there are not {count} free ports from {PORTS.start} to {PORTS.stop - 1}")


# Private


def _call(port: int, method: str, path: str, body: dict[str, Any] | None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_TIMEOUT_S)
    try:
        payload = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        sent = time.monotonic()
        connection.request(method, path, payload, headers)
        answer = connection.getresponse()
        data = answer.read()
        acked = time.monotonic()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{method} http://127.0.0.1:{port}{path} got no answer: {error}") from error
    finally:
        connection.close()
    is_json = "json" in answer.getheader("Content-Type", "")
    return Answer(answer.status, json.loads(data) if is_json else {}, sent, acked)
