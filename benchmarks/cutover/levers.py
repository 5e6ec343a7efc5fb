"""How each proxy is told to switch. A lever returns when the proxy's own command or call has returned.

It must never wait for more than that, retry, or look whether the switch has taken place: that is what the clients find out.
Each returns the seconds that the proxy itself says it took to make the change durable, which only bgproxy does.
"""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Final

from benchmarks.contenders import ContenderError, process
from benchmarks.cutover.place import Place
from bgproxy.demo import message
from bgproxy.demo.message import Message

CALL_S: Final = 10.0
READ_BYTES: Final = 64 << 10
MAP: Final = "active.map"
RUNTIME_KEY: Final = "routing.traffic_shift.web"

NGINX_UPSTREAM: Final = """\
upstream web {{
    server 127.0.0.1:{active_a};
    server 127.0.0.1:{active_b};
    keepalive 64;
}}
"""

CADDYFILE: Final = """\
{{
    admin 127.0.0.1:{admin}
    auto_https off
    persist_config off
    storage file_system {directory}
    servers {{
        protocols h1
    }}
}}
http://:{public} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{active_a} 127.0.0.1:{active_b} {{
        lb_policy round_robin
        health_uri /health
        health_interval 2s
        health_timeout 1s
    }}
}}
"""

TRAEFIK_ROUTES: Final = """\
http:
  routers: {{web: {{rule: "PathPrefix(`/`)", service: web}}}}
  services:
    web: {{weighted: {{services: [{{name: {active}, weight: 100}}, {{name: {idle}, weight: 0}}]}}}}
    blue:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{blue_a}"}}, {{url: "http://127.0.0.1:{blue_b}"}}]
        healthCheck: {{path: /health, interval: 2s, timeout: 1s}}
    green:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{green_a}"}}, {{url: "http://127.0.0.1:{green_b}"}}]
        healthCheck: {{path: /health, interval: 2s, timeout: 1s}}
"""


def bgproxy(place: Place, side: str) -> float:
    body = json.dumps({"to": side, "reason": "cutover benchmark"})
    answer = _call(place.admin, "POST", "/admin/switch", body, "application/json")
    return float(json.loads(answer.body)["sync_milliseconds"]) / 1000


def is_healthy(place: Place) -> bool:
    """Whether bgproxy would switch to either side."""
    answer = _call(place.admin, "GET", "/admin/services")
    (service,) = json.loads(answer.body)["services"]
    return all(pool["healthy"] for pool in service["pools"].values())


def touch(place: Place) -> None:
    """A call to bgproxy's admin API that changes nothing and asks nobody: what any call costs its caller."""
    _call(place.admin, "GET", "/healthz")


def nginx(place: Place, side: str) -> float:
    place.write("upstream.conf", NGINX_UPSTREAM, side)
    # It runs, so it was found.
    command = [
        process.find("nginx") or "nginx",
        "-p",
        str(place.directory),
        "-c",
        str(place.directory / "nginx.conf"),
    ]
    done = subprocess.run(
        [*command, "-s", "reload"], capture_output=True, text=True, timeout=CALL_S, check=False
    )
    if done.returncode:
        raise _refused("nginx -s reload", done.stderr)
    return 0.0


def haproxy(place: Place, side: str) -> float:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CALL_S)
        connection.connect(str(place.directory / "runtime.sock"))
        connection.sendall(f"set map {place.directory / MAP} active {side}\n".encode())
        answer = b""
        while data := connection.recv(READ_BYTES):
            answer += data
    if answer.strip():
        raise _refused("set map", answer.decode(errors="replace"))
    return 0.0


def envoy(place: Place, side: str) -> float:
    _call(place.admin, "POST", f"/runtime_modify?{RUNTIME_KEY}={100 if side == 'green' else 0}")
    return 0.0


def caddy(place: Place, side: str) -> float:
    _call(place.admin, "POST", "/load", place.fill(CADDYFILE, side), "text/caddyfile")
    return 0.0


def traefik(place: Place, side: str) -> float:
    place.write("routes.yaml", TRAEFIK_ROUTES, side)
    return 0.0


# Private


def _call(port: int, method: str, target: str, body: str = "", kind: str = "text/plain") -> Message:
    """On a connection of its own, as curl does it; with a plain socket, so that little of the time is the caller's."""
    payload = body.encode()
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=CALL_S) as connection:
        connection.sendall(head.encode() + payload)
        received = b""
        while (answer := message.read(received)) is None:
            data = connection.recv(READ_BYTES)
            if not data:
                raise _refused(f"{method} {target}", "it closed the connection in mid-answer")
            received += data
    if not answer.start.startswith(b"HTTP/1.1 200 "):
        raise _refused(
            f"{method} {target}", f"{answer.start.decode()}: {answer.body.decode(errors='replace')}"
        )
    return answer


def _refused(what: str, why: str) -> ContenderError:
    return ContenderError(f"the switch by `{what}` was refused: {why.strip()}")
