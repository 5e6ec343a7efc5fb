"""The programs that are measured and the backend behind them, each as real processes on given cores.

Both proxies get what a careful operator would give them in production, and the same limits: kept-alive
connections on both sides, HTTP/1.1 to the backend, X-Forwarded-For and -Proto, no access log. Whatever
happens, nothing of it outlives its context.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import cpu_time
from benchmarks.scenarios import LARGE, LARGE_BUFFERED, LARGE_BYTES, SMALL, SMALL_BODY
from bgproxy.demo.stage import free_ports
from bgproxy.model import Keepalive

READY_S: Final = 20.0
STOP_S: Final = 10.0
POLL_S: Final = 0.02
CALL_S: Final = 5.0

_NGINX: Final = """\
{user}daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{servers}}}
"""

_BACKEND: Final = """\
    open_file_cache max=16;
    open_file_cache_valid 1h;
    server {{
        listen 127.0.0.1:{blue} backlog=4096;
        listen 127.0.0.1:{green} backlog=4096;
        default_type application/json;
        location = {small} {{ return 200 '{small_body}'; }}
        location = /health {{ return 200 '{{"status":"ok"}}'; }}
        location = {large} {{ alias {directory}/large; }}
        location = {large_buffered} {{ alias {directory}/large; }}
    }}
"""

# Its default buffers are smaller than the large response: nginx then writes to a temporary file whatever the
# client does not take at once. That costs it most of its time, so it is also measured with larger ones.
_PROXY: Final = """\
    upstream web {{
        server 127.0.0.1:{backend};
        keepalive {idle_connections};
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        location / {{ proxy_pass http://web; }}
        location = {large_buffered} {{
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_pass http://web;
        }}
    }}
"""

_BGPROXY: Final = """\
workers: {workers}
listeners: [{{name: public, bind: "127.0.0.1:{port}"}}]
admin: {{bind: "127.0.0.1:{admin}"}}
state: {{backend: sqlite, path: "{directory}/state.db"}}
services:
  web:
    active: blue
    pools:
      blue:  {{version: v1, upstreams: ["127.0.0.1:{blue}"]}}
      green: {{version: v2, upstreams: ["127.0.0.1:{green}"]}}
    health: {{path: /health, interval: 2s, timeout: 1s}}
"""


class ContenderError(Exception):
    """A program did not start, or is not what it was when it started; says where its log is."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One nginx; two ports, because a blue-green proxy wants two pools."""

    blue: int
    green: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A proxy that serves. `pids` is its whole tree, `worker_pids` the part that handles requests."""

    name: str
    workers: int
    port: int
    root: int
    pids: frozenset[int]
    worker_pids: frozenset[int]

    def check_whole(self) -> None:
        """A process that came or went would make the CPU time of the tree wrong."""
        now = cpu_time.tree(self.root)
        if now != self.pids:
            raise ContenderError(
                f"{self.name} had the processes {sorted(self.pids)} and now has {sorted(now)}: "
                "what died in between was not counted; run it again"
            )


@contextmanager
def backend(directory: Path, cores: set[int]) -> Iterator[Backend]:
    """Answers from memory; the large response is a file in the page cache."""
    directory.mkdir()
    (directory / "large").write_bytes(b"x" * LARGE_BYTES)
    blue, green = free_ports(2)
    servers = _BACKEND.format(
        blue=blue,
        green=green,
        small=SMALL,
        small_body=SMALL_BODY,
        large=LARGE,
        large_buffered=LARGE_BUFFERED,
        directory=directory,
    )
    with _started("backend", _nginx_command(directory, servers, workers=1), directory, cores) as process:
        _await(lambda: _status(blue, "/health") == 200, process, directory)
        yield Backend(blue, green)


@contextmanager
def nginx(behind: Backend, directory: Path, cores: set[int], *, workers: int) -> Iterator[Contender]:
    directory.mkdir()
    (port,) = free_ports(1)
    servers = _PROXY.format(
        port=port,
        backend=behind.blue,
        idle_connections=Keepalive().connections,
        large_buffered=LARGE_BUFFERED,
    )
    command = _nginx_command(directory, servers, workers=workers)
    with _started("nginx", command, directory, cores) as process:
        _await(lambda: _status(port, SMALL) == 200, process, directory)
        pids = frozenset(cpu_time.tree(process.pid))
        yield Contender("nginx", workers, port, process.pid, pids, pids - {process.pid})


@contextmanager
def bgproxy(behind: Backend, directory: Path, cores: set[int], *, workers: int) -> Iterator[Contender]:
    directory.mkdir()
    port, admin = free_ports(2)
    path = directory / "bgproxy.yaml"
    path.write_text(
        _BGPROXY.format(
            workers=workers,
            port=port,
            admin=admin,
            blue=behind.blue,
            green=behind.green,
            directory=directory,
        )
    )
    command = [sys.executable, "-m", "bgproxy", "run", "-c", str(path)]
    with _started("bgproxy", command, directory, cores) as process:
        _await(lambda: _status(admin, "/readyz") == 200, process, directory)
        _await(lambda: _status(port, SMALL) == 200, process, directory)
        status = _json(admin, "/admin/status")
        worker_pids = frozenset(each["pid"] for each in status["workers"])
        pids = frozenset(cpu_time.tree(process.pid))
        if not worker_pids < pids or len(worker_pids) != workers:
            raise ContenderError(
                f"bgproxy says that its workers are {sorted(worker_pids)}, and {workers} of its processes "
                f"{sorted(pids)} should be"
            )
        yield Contender("bgproxy", workers, port, process.pid, pids, worker_pids)


# Private


def _nginx_command(directory: Path, servers: str, *, workers: int) -> list[str]:
    # As root, nginx would hand over to a user who may not read our directory.
    user = "user root;\n" if os.geteuid() == 0 else ""
    path = directory / "nginx.conf"
    path.write_text(_NGINX.format(user=user, workers=workers, directory=directory, servers=servers))
    return ["nginx", "-p", str(directory), "-c", str(path)]


@contextmanager
def _started(
    name: str, command: list[str], directory: Path, cores: set[int]
) -> Iterator[subprocess.Popen[bytes]]:
    pinned = ["taskset", "-c", ",".join(map(str, sorted(cores))), *command]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            pinned, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
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


def _await(condition: Callable[[], bool], process: subprocess.Popen[bytes], directory: Path) -> None:
    until = time.monotonic() + READY_S
    while not condition():
        late = time.monotonic() > until
        if late or process.poll() is not None:
            what = f"is not ready after {READY_S:g} s" if late else f"ended with {process.returncode}"
            words = "\n".join((directory / "log").read_text().splitlines()[-12:])
            raise ContenderError(f"{directory.name} {what}:\n{words}")
        time.sleep(POLL_S)


def _status(port: int, path: str) -> int:
    """The status of the answer; 0 for none."""
    try:
        return _get(port, path)[0]
    except (OSError, http.client.HTTPException):
        return 0  # it does not listen yet, which is what the caller waits for


def _json(port: int, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_get(port, path)[1])
    return answer


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
