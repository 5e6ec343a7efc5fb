"""Load for locust: GET and POST through the public listener, and switches if BGPROXY_SWITCH_EVERY_S is set.

    locust -f benchmarks/locustfile.py --headless -u 50 -r 50 -t 30s -H http://127.0.0.1:8080
    BGPROXY_CA=authority.pem locust -f benchmarks/locustfile.py ... -H https://127.0.0.1:8443

`python -m benchmarks.locust_run` starts what it needs and runs it.
It expects the demonstration's app on both sides, and that nobody else switches meanwhile. It must never take
an answer for a success because of its status alone.
"""

from __future__ import annotations

import os
import ssl
from hashlib import sha256
from typing import Any, Final

from locust import FastHttpUser, constant, constant_pacing, task
from locust.exception import StopUser

from benchmarks.versions import VERSION_HEADER, Versions

SWITCH_EVERY_S: Final = float(os.environ.get("BGPROXY_SWITCH_EVERY_S", "0"))
ADMIN: Final = os.environ.get("BGPROXY_ADMIN", "http://127.0.0.1:9900").rstrip("/")
TOKEN: Final = os.environ.get("BGPROXY_TOKEN")
AUTHORITY: Final = os.environ.get(
    "BGPROXY_CA"
)  # whom to trust instead of the usual authorities: a file, in PEM
THINK_S: Final = 0.02
PATIENCE_S: Final = 10.0  # for an answer: who waits longer has failed, and not only when the run is over
BODY: Final = "x" * 4096
DIGEST: Final = sha256(BODY.encode()).hexdigest()

versions = Versions()


def trusting(cafile: str | None = None) -> ssl.SSLContext:
    """Certificates are verified, which locust does not do unless it is told to. `cafile` is what it proposes."""
    return ssl.create_default_context(cafile=AUTHORITY or cafile)


class Client(FastHttpUser):
    """One kept-alive connection; every answer is checked for what it says and who says it."""

    wait_time = constant(THINK_S)
    insecure = False
    network_timeout = PATIENCE_S
    ssl_context_factory = staticmethod(trusting)

    @task
    def get(self) -> None:
        self._ask("GET", None)

    @task
    def post(self) -> None:
        self._ask("POST", BODY)

    # Private

    def _ask(self, method: str, body: str | None) -> None:
        began = versions.begin()
        with self.client.request(method, "/", data=body, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            text = response.text or ""
            fault = versions.find_fault(began, response.headers.get(VERSION_HEADER), text)
            if fault is None and method == "POST" and text != DIGEST:
                fault = "the digest is not that of the body that was sent"
            if fault is not None:
                response.failure(fault)


class Operator(FastHttpUser):
    """Switches to and fro. There is one, so that what it knows is what every client has to see."""

    abstract = SWITCH_EVERY_S <= 0
    fixed_count = 1
    wait_time = constant_pacing(SWITCH_EVERY_S)
    insecure = False
    network_timeout = PATIENCE_S
    ssl_context_factory = staticmethod(trusting)

    def on_start(self) -> None:
        self._headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}
        url = f"{ADMIN}/admin/services"
        with self.client.get(url, name="/admin/services", headers=self._headers) as response:
            if response.status_code != 200:
                raise StopUser(f"GET {url} answered {response.status_code}: set BGPROXY_ADMIN, BGPROXY_TOKEN")
            service: dict[str, Any] = response.json()["services"][0]
        self._service = service["service"]
        self._active, self._idle = service["active"], service["idle"]
        self._versions = {name: pool["version"] for name, pool in service["pools"].items()}
        versions.start(self._versions[self._active])

    @task
    def switch(self) -> None:
        versions.switch_sent(self._versions[self._idle])
        body = {"service": self._service, "to": self._idle, "reason": "locust"}
        with self.client.post(
            f"{ADMIN}/admin/switch",
            name="/admin/switch",
            json=body,
            headers=self._headers,
            catch_response=True,
        ) as response:
            if response.status_code == 200:
                versions.switch_acknowledged()
                self._active, self._idle = self._idle, self._active
            elif response.status_code:
                versions.switch_refused()
                response.failure(f"refused with {response.status_code}: {response.text}")
            else:
                response.failure("no answer")
