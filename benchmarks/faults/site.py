"""The processes of one row: three upstreams, one spare in the other pool, a proxy, clients; and what can be done to them.

Whatever happens, nothing of it outlives the site. It must never decide what is done.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import trustme
import yaml

from benchmarks.faults import contenders
from benchmarks.faults.books import FAULTY, Books, Event
from benchmarks.faults.scenario import REFUSED, UNREACHABLE, Scenario
from bgproxy.demo import stage
from bgproxy.demo.results import ResultReader
from bgproxy.demo.stage import undisturbed

UPSTREAMS: Final = (FAULTY, "b", "c")
SPARE: Final = "d"  # of the other pool
WORKERS: Final = 2
# The kernel has no way to a multicast address for TCP: it says so at once, on any machine.
NOWHERE: Final = "224.0.0.1:9"
READY_S: Final = 20.0
LOAD_S: Final = 30.0  # whatever hangs then
ENDED_S: Final = 60.0
CALL_S: Final = 5.0
POLL_S: Final = 0.03  # not more often than the admin API lets us
ENDLESS: Final = 1_000_000_000

# The answer of the active check plays no part, unless the row says otherwise: what is shown is what becomes
# of requests that meet a failing upstream.
BLIND: Final = {"kind": "command", "command": ["true"], "interval": "1h", "healthy_after": 1}
RETRIES: Final = {"attempts": 2, "budget": "100%"}


class SiteError(Exception):
    """A row could not be played; the text says why and where to look."""


class Site:
    """A context manager: what was started is killed at its end, and the directory removed unless `keep`."""

    def __init__(self, scenario: Scenario, *, clients: int, proxy: str = "bgproxy") -> None:
        self.keep = False
        self.moments: dict[str, float] = {}
        self.directory = Path(tempfile.mkdtemp(prefix="bgproxy-faults-"))
        self._scenario = scenario
        self._clients = clients
        self._proxy = proxy
        names = [*UPSTREAMS, SPARE]
        self._public, self._admin, *ports = stage.free_ports(2 + len(names))
        self._ports = dict(zip(names, ports, strict=True))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._tls = _Certificates(self.directory) if scenario.tls else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with undisturbed():
            stage.kill_all(self._processes.values())
            if not self.keep:
                shutil.rmtree(self.directory)

    # The row

    def play(self, requests: int) -> Books:
        """The whole of it: so many requests, or as many as there are while the script lasts."""
        scenario = self._scenario
        upstreams = [*UPSTREAMS, SPARE] if self._uses_spare() else list(UPSTREAMS)
        if scenario.fault in {REFUSED, UNREACHABLE}:
            upstreams.remove(FAULTY)
        for name in upstreams:
            self._start_upstream(name)
        for name in upstreams:
            self._await_ready(name)
        if self._proxy == "bgproxy":
            self._start_bgproxy()
            self._until(self._is_ready, "bgproxy to be ready")
            self.until_healthy()
        else:
            self._start_contender()
            self._until(self._serves, f"{self._proxy} to serve")
        self._start_load(requests if scenario.script is None else ENDLESS)
        if scenario.script is not None:
            self._until(lambda: (self.directory / "results").stat().st_size > 0, "the first answers")
            scenario.script(self)
            self._processes["load"].terminate()
        self._end("load")
        self._check_alive()
        self._processes[self._proxy].terminate()
        self._end(self._proxy)
        journals = {name: self._journal(name) for name in self._ports}
        return Books(ResultReader(self.directory / "results").read(), journals, self.moments)

    # What a script may do

    def mark(self, moment: str) -> None:
        self.moments[moment] = time.monotonic()

    def pause(self, seconds: float) -> None:
        """Lets the load run."""
        time.sleep(seconds)
        self._check_alive()

    def kill(self, *names: str) -> None:
        for name in names:
            stage.kill(self._processes[name].pid)
            self._processes.pop(name).wait()

    def restart(self, *names: str) -> None:
        """Returns when they accept connections."""
        for name in names:
            self._start_upstream(name)
        for name in names:
            self._await_ready(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    def retire(self, name: str) -> None:
        """Asks an upstream to end as one should, and waits until it has."""
        self._processes[name].terminate()
        self._end(name)

    def until_healthy(self, count: int = len(UPSTREAMS)) -> None:
        """Returns when so many upstreams of the active pool are healthy."""
        self._until(lambda: self._healthy() == count, f"{count} upstreams to be healthy")

    # Private

    def _uses_spare(self) -> bool:
        return self._scenario.service.get("when_unhealthy") == "other_pool"

    def _start_upstream(self, name: str) -> None:
        options = ["--port", str(self._ports[name]), "--journal", str(self.directory / f"{name}.journal")]
        if name == FAULTY and self._scenario.fault:
            options += ["--fault", self._scenario.fault, "--every", str(self._scenario.every)]
        if self._tls is not None:
            is_wrong = name == FAULTY and self._scenario.tls == "wrong"
            cert, key = self._tls.wrong if is_wrong else self._tls.right
            options += ["--cert", cert, "--key", key]
        self._start(name, "benchmarks.faults.upstream", *options)

    def _addresses(self) -> dict[str, str]:
        addresses = {name: f"127.0.0.1:{port}" for name, port in self._ports.items()}
        if self._scenario.fault == UNREACHABLE:
            addresses[FAULTY] = NOWHERE
        return addresses

    def _start_contender(self) -> None:
        timeouts = contenders.milliseconds(self._scenario.service.get("timeouts", {}))
        values = {"workers": WORKERS, "port": self._public, **timeouts}
        addresses = [self._addresses()[name] for name in UPSTREAMS]
        authority = "" if self._tls is None else self._tls.authority
        command = contenders.CONTENDERS[self._proxy](self.directory, values, addresses, authority)
        program = contenders.find(command[0])
        if program is None:
            raise SiteError(f"{self._proxy} is not installed: install it, or leave out --beside")
        self._run(self._proxy, program, *command[1:])

    def _start_bgproxy(self) -> None:
        addresses = self._addresses()
        service = {
            "active": "blue",
            "pools": {
                "blue": {"upstreams": [addresses[name] for name in UPSTREAMS]},
                "green": {"upstreams": [addresses[SPARE]] if self._uses_spare() else []},
            },
            "health": BLIND,
            "retries": RETRIES,
            **self._scenario.service,
        }
        if self._tls is not None:
            service["upstream_tls"] = {"ca": self._tls.authority, "server_name": "app.test"}
        config = {
            "workers": WORKERS,
            "listeners": [{"name": "public", "bind": f"127.0.0.1:{self._public}"}],
            "admin": {"bind": f"127.0.0.1:{self._admin}"},
            "state": {"backend": "memory"},
            "services": {"web": service},
        }
        path = self.directory / "bgproxy.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        self._start("bgproxy", "bgproxy", "run", "-c", str(path))

    def _start_load(self, requests: int) -> None:
        results = self.directory / "results"
        results.touch()
        options = {
            "--port": self._public,
            "--results": results,
            "--clients": self._clients,
            "--requests": requests,
            "--seconds": LOAD_S,
            "--think-s": self._scenario.think_s,
        }
        self._start(
            "load", "benchmarks.faults.load", *(str(word) for pair in options.items() for word in pair)
        )

    def _start(self, name: str, module: str, *arguments: str) -> None:
        self._run(name, sys.executable, "-m", module, *arguments)

    def _run(self, name: str, *command: str) -> None:
        with undisturbed(), (self.directory / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that ^C reaches us alone, who end them in order
            )

    def _end(self, name: str) -> None:
        """Waits for the clean end of a process."""
        process = self._processes[name]
        try:
            code = process.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            raise SiteError(f"{name} has not ended after {ENDED_S:g} s:\n{self._said(name)}") from None
        if code and name not in contenders.CONTENDERS:  # HAProxy lets the signal end it
            raise SiteError(f"{name} ended with exit code {code}:\n{self._said(name)}")
        del self._processes[name]

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise SiteError(f"{name} ended with {process.returncode}:\n{self._said(name)}")

    def _await_ready(self, name: str) -> None:
        self._until(lambda: "ready" in self._said(name), f"{name} to accept connections")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + READY_S
        while not condition():
            self._check_alive()
            if time.monotonic() > until:
                raise SiteError(
                    f"waited {READY_S:g} s for {what}, in vain; the proxy said:\n{self._said(self._proxy)}"
                )
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        return self._ask("/readyz")[0] == 200

    def _serves(self) -> bool:
        return self._ask("/health", self._public)[0] == 200

    def _healthy(self) -> int:
        status, body = self._ask("/admin/services")
        if status != 200:
            return -1
        (service,) = body["services"]
        upstreams = service["pools"]["blue"]["upstreams"]
        return sum(each["health"] == "healthy" for each in upstreams)

    def _ask(self, path: str, port: int | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self._admin, timeout=CALL_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            return 0, None  # it does not listen yet, which is what the caller waits for
        finally:
            connection.close()
        return answer.status, json.loads(data) if data.startswith((b"{", b"[")) else None

    def _journal(self, name: str) -> list[Event]:
        path = self.directory / f"{name}.journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Event.from_line(line) for line in lines]

    def _said(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return "\n".join(path.read_text().splitlines()[-12:]) if path.exists() else ""


class _Certificates:
    """`right` is what upstreams should have, `wrong` is for the same name but by an authority that nobody trusts."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.authority = str(directory / "authority.pem")
        authority.cert_pem.write_to_path(self.authority)
        self.right = self._issue(authority, directory, "right")
        self.wrong = self._issue(trustme.CA(), directory, "wrong")

    def _issue(self, authority: trustme.CA, directory: Path, name: str) -> tuple[str, str]:
        issued = authority.issue_cert("app.test")
        cert, key = str(directory / f"{name}.pem"), str(directory / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return cert, key
