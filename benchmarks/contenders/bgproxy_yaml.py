"""bgproxy as it is shipped, and compiled: health checks, metrics, state store, X-Forwarded-*, Via and X-Request-Id are on."""

from __future__ import annotations

import http.client
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.contenders.process import CALL_S, ContenderError
from benchmarks.contenders.program import Place, Program
from benchmarks.scenarios import CANARY_PERCENT, Setting

# What `make compiled` makes.
_COMPILED: Final = str(Path(__file__).parents[2] / "build" / "compiled" / "venv" / "bin" / "python")

Json = dict[str, Any]


def _service(place: Place, blue: list[str], green: list[str]) -> Json:
    return {
        "active": "blue",
        "pools": {
            "blue": {"version": "v1", "upstreams": blue},
            "green": {"version": "v2", "upstreams": green},
        },
        "health": {"path": "/health", "interval": f"{place.health_s}s", "timeout": "1s"},
    }


def config(place: Place) -> Json:
    web = _service(place, place.blue, place.green)
    listener: Json = {"name": "public", "bind": f"127.0.0.1:{place.port}"}
    everything: Json = {
        "workers": place.workers,
        "listeners": [listener],
        "admin": {"bind": f"127.0.0.1:{place.admin}"},
        "state": {"backend": "sqlite", "path": str(place.directory / "state.db")},
        "services": {"web": web},
    }
    match place.setting:
        case Setting.TLS:
            certificate = {"cert": str(place.certificate), "key": str(place.key)}
            listener["tls"] = {"certificates": [certificate]}
        case Setting.STICKY:
            web["sticky"] = {"cookie": "side", "ttl": "1h"}
        case Setting.ACCESS_LOG:
            everything["access_log"] = {"path": str(place.access_log), "format": "json"}
        case Setting.UPSTREAMS:
            web["balance"] = "round_robin"  # as the others have it
        case Setting.SERVICES:
            everything["services"] = {
                f"s{number}": {"hosts": [host], **_service(place, [address], [])}
                for number, (host, address) in enumerate(place.services.items())
            }
    return everything


def worker_pids(place: Place) -> frozenset[int]:
    """The processes that handle requests, as it says itself."""
    return frozenset(each["pid"] for each in _call(place, "GET", "/admin/status")["workers"])


def _write(python: str, place: Place) -> list[str]:
    path = place.directory / "bgproxy.yaml"
    path.write_text(yaml.safe_dump(config(place), sort_keys=False))
    return [python, "-m", "bgproxy", "run", "-c", str(path)]


def _settle(place: Place) -> None:
    if place.setting in {Setting.CANARY, Setting.STICKY}:
        # Without proof that green is healthy it would be refused; the proof is not what is measured.
        _call(place, "PUT", "/admin/canary", {"weight": CANARY_PERCENT, "force": True})


def _call(place: Place, method: str, path: str, body: Json | None = None) -> Json:
    connection = http.client.HTTPConnection("127.0.0.1", place.admin, timeout=CALL_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        said: Json = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ContenderError(f"bgproxy answered {method} {path} with {answer.status}: {said}")
    return said


BGPROXY: Final = Program(
    "bgproxy",
    partial(_write, sys.executable),
    (sys.executable, "-c", "import bgproxy; print(bgproxy.__version__)"),
    "`pip install -e .`",
    settle=_settle,
    worker_pids=worker_pids,
)
COMPILED: Final = Program(
    "bgproxy-compiled",
    partial(_write, _COMPILED),
    (_COMPILED, "-I", "-m", "bgproxy", "--version"),
    "`make compiled`",
    # Whatever else there is, what is installed there is what is meant.
    environment={"PYTHONPATH": ""},
    settle=_settle,
    worker_pids=worker_pids,
)
