"""bgproxy and the app behind it, each in processes of their own.

Whatever happens, nothing of it outlives the site. It must never decide what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import trustme
import yaml

from benchmarks.memory import crowd
from bgproxy.demo.stage import kill_all, undisturbed

READY_S: Final = 20.0
CALL_S: Final = 5.0
POLL_S: Final = 0.03  # not more often than the admin API lets us

# The app says nothing of its health, and nobody asks it while it is measured.
UNASKED: Final = {"kind": "command", "command": ["true"], "interval": "1h", "healthy_after": 1}
# Whoever is idle stays for as long as it takes to count it.
PATIENT: Final = {"connect": "30s", "request_head": "10m", "idle": "10m"}


class SiteError(Exception):
    """Something did not start, or ended before it should; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What of bgproxy is on."""

    listener_tls: bool = False
    upstream_tls: bool = False
    access_log: bool = False
    mirror: bool = False
    workers: int = 1


class Site:
    """A context manager: what was started is killed at its end, and its directory removed."""

    port: int
    worker_pids: list[int]
    client_tls: ssl.SSLContext | None = None

    def __init__(self, setting: Setting) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bgproxy-memory-"))
        self._setting = setting
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._authority = self.directory / "authority.pem"

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._close()

    def transfers(
        self,
        *,
        readers: int,
        uploads: int,
        size_bytes: int,
        slow_s: float,
        options: tuple[str, ...] = (),
        meanwhile: Callable[[], None],
    ) -> dict[str, Any]:
        """Runs them to their end, and tells what became of them; `meanwhile` is called again and again."""
        values = {
            "--port": self.port,
            "--readers": readers,
            "--uploads": uploads,
            "--size-bytes": size_bytes,
            "--slow-s": slow_s,
        }
        words = [str(word) for pair in values.items() for word in pair]
        if self.client_tls is not None:
            words += ["--ca", str(self._authority)]
        self._start("transfers", "benchmarks.memory.transfers", *words, *options)
        process = self._processes["transfers"]
        while process.poll() is None:
            self.check_alive()
            meanwhile()
            time.sleep(POLL_S)
        del self._processes["transfers"]
        said = self._said("transfers")
        if process.returncode:
            raise SiteError(f"the clients ended with exit code {process.returncode}:\n{said}")
        ends: dict[str, Any] = json.loads(said)
        return ends

    def pin(self, core: int) -> None:
        """Has worker and app run nowhere else: where they run decides more than what is to be compared."""
        for pid in (*self.worker_pids, self._processes["app"].pid):
            os.sched_setaffinity(pid, {core})

    def check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll():
                raise SiteError(f"{name} ended with exit code {process.returncode}:\n{self._said(name)}")

    # Private

    def _open(self) -> None:
        certificates: tuple[str, str] | None = None
        if self._setting.listener_tls or self._setting.upstream_tls:
            certificates = self._issue()
        cert = ["--cert", certificates[0], "--key", certificates[1]] if certificates else []
        self._start("app", "benchmarks.memory.upstream", *(cert if self._setting.upstream_tls else []))
        app = self._until_said("app", r"ready on (\d+)")
        path = self.directory / "bgproxy.yaml"
        path.write_text(yaml.safe_dump(self._config(f"127.0.0.1:{app[1]}", certificates), sort_keys=False))
        self._start("bgproxy", "bgproxy", "run", "-c", str(path))
        ready = self._until_said("bgproxy", r"ready: public on 127\.0\.0\.1:(\d+); admin on (\S+)")
        self.port = int(ready[1])
        self._until(self._serves, "bgproxy to serve")
        self.worker_pids = [int(worker["pid"]) for worker in self._status(ready[2])["workers"]]

    def _config(self, app: str, certificates: tuple[str, str] | None) -> dict[str, Any]:
        setting = self._setting
        listener: dict[str, Any] = {"name": "public", "bind": "127.0.0.1:0"}
        service: dict[str, Any] = {
            "active": "blue",
            "pools": {
                "blue": {"upstreams": [app]},
                "green": {"upstreams": [app] if setting.mirror else []},
            },
            "health": UNASKED,
            "timeouts": PATIENT,
        }
        config: dict[str, Any] = {
            "workers": setting.workers,
            "listeners": [listener],
            "admin": {"bind": "127.0.0.1:0"},
            "state": {"backend": "memory"},
            "services": {"web": service},
        }
        if setting.listener_tls and certificates is not None:
            listener["tls"] = {"certificates": [{"cert": certificates[0], "key": certificates[1]}]}
            self.client_tls = ssl.create_default_context(cafile=self._authority)
        if setting.upstream_tls:
            service["upstream_tls"] = {"ca": str(self._authority), "server_name": "app.test"}
        if setting.access_log:
            config["access_log"] = {"path": "access.log"}
        if setting.mirror:
            service["mirror"] = {"share": "100%"}
        return config

    def _issue(self) -> tuple[str, str]:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self._authority)
        issued = authority.issue_cert("app.test")
        cert, key = str(self.directory / "app.pem"), str(self.directory / "app.key")
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def _close(self) -> None:
        with undisturbed():
            kill_all(self._processes.values())
            shutil.rmtree(self.directory)

    def _start(self, name: str, module: str, *arguments: str) -> None:
        with undisturbed(), (self.directory / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that ^C reaches us alone, who end them
            )

    def _until_said(self, name: str, pattern: str) -> re.Match[str]:
        self._until(lambda: re.search(pattern, self._said(name)) is not None, f"{name} to be ready")
        found = re.search(pattern, self._said(name))
        assert found is not None  # noqa: S101 - it was there just now
        return found

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + READY_S
        while not condition():
            self.check_alive()
            if time.monotonic() > until:
                said = "\n".join(f"{name}: {self._said(name)}" for name in self._processes)
                raise SiteError(f"waited {READY_S:g} s for {what}, in vain:\n{said}")
            time.sleep(POLL_S)

    def _serves(self) -> bool:
        try:
            with contextlib.closing(crowd.connect(self.port, self.client_tls)) as client:
                crowd.ask(client)
        except (OSError, crowd.CrowdError):
            return False  # the app is not known to be healthy yet, which is what the caller waits for
        return True

    def _status(self, admin: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{admin}/admin/status", timeout=CALL_S) as answer:
            status: dict[str, Any] = json.load(answer)
        return status

    def _said(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()
