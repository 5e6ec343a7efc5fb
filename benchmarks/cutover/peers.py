"""The proxies that switch, each configured as its documentation recommends for traffic that moves between two versions.

All have two workers (or threads), kept-alive connections to both sides, X-Forwarded-For, no access log, and active
health checks every two seconds where they can. None is told to repeat a POST. It must never give one of them what would make it
look worse than a careful operator would have it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Final

import bgproxy
from benchmarks.contenders import ContenderError, process
from benchmarks.cutover import levers
from benchmarks.cutover.place import Place
from bgproxy.demo.stage import SIDES, WORKERS

_BGPROXY: Final = """\
workers: {workers}
listeners: [{{name: public, bind: "127.0.0.1:{public}"}}]
admin: {{bind: "127.0.0.1:{admin}"}}
state: {{backend: sqlite, path: "{directory}/state.db"}}
services:
  web:
    active: blue
    balance: round_robin
    pools:
      blue:  {{version: v1, upstreams: ["127.0.0.1:{blue_a}", "127.0.0.1:{blue_b}"]}}
      green: {{version: v2, upstreams: ["127.0.0.1:{green_a}", "127.0.0.1:{green_b}"]}}
    health: {{path: /health, interval: 2s, timeout: 1s, healthy_after: 1}}
"""

_NGINX: Final = """\
{user}daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/upstream.conf;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    server {{
        listen 127.0.0.1:{public} backlog=4096;
        location / {{ proxy_pass http://web; }}
    }}
}}
"""

_HAPROXY: Final = """\
global
    nbthread {workers}
    stats socket {directory}/runtime.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout http-keep-alive 60s
    option forwardfor
    default-server check inter 2s
frontend public
    bind 127.0.0.1:{public}
    http-request set-header X-Forwarded-Proto http
    use_backend %[str(active),map({directory}/active.map)]
backend blue
    balance roundrobin
    option httpchk GET /health
    server a 127.0.0.1:{blue_a}
    server b 127.0.0.1:{blue_b}
backend green
    balance roundrobin
    option httpchk GET /health
    server a 127.0.0.1:{green_a}
    server b 127.0.0.1:{green_b}
"""

_ENVOY_CLUSTER: Final = """\
  - name: SIDE
    connect_timeout: 1s
    lb_policy: ROUND_ROBIN
    health_checks: [{{timeout: 1s, interval: 2s, no_traffic_interval: 2s, healthy_threshold: 1, unhealthy_threshold: 3, http_health_check: {{path: /health}}}}]
    load_assignment:
      cluster_name: SIDE
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {SIDE_a}}}}}}}
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {SIDE_b}}}}}}}
"""

_ENVOY: Final = """\
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
layered_runtime: {{layers: [{{name: operator, admin_layer: {{}}}}]}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {public}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: public
          codec_type: HTTP1
          use_remote_address: true
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: web
              domains: ["*"]
              retry_policy: {{retry_on: "connect-failure,reset-before-request", num_retries: 2}}
              routes:
              - match: {{prefix: /, runtime_fraction: {{default_value: {{numerator: 0, denominator: HUNDRED}}, runtime_key: %s}}}}
                route: {{cluster: green}}
              - match: {{prefix: /}}
                route: {{cluster: blue}}
  clusters:
%s"""

# A reload is followed by a pause in which files are not looked at, of two seconds by default: a limit to how often
# one can switch, which nobody who switches once a day would meet.
_TRAEFIK: Final = """\
entryPoints: {{public: {{address: "127.0.0.1:{public}"}}}}
providers:
  providersThrottleDuration: 1ms
  file: {{filename: {directory}/routes.yaml, watch: true}}
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """`files` are templates by name; `way` says what is done to switch, and so what counts as the acknowledgement."""

    name: str
    program: str
    arguments: Callable[[Path], list[str]]
    says_version: tuple[str, ...]
    files: Mapping[str, str]
    switch: Callable[[Place, str], float]
    way: str

    def version(self) -> str:
        if self.name == "bgproxy":
            return bgproxy.__version__
        return process.said_version([find(self.program), *self.says_version])

    @contextmanager
    def running(self, place: Place, cores: set[int]) -> Iterator[Popen[bytes]]:
        """Serves the first side; the apps have to answer by now."""
        place.directory.mkdir()
        for name, template in self.files.items():
            place.write(name, template, next(iter(SIDES)))
        command = [find(self.program), *self.arguments(place.directory)]
        # What the programs in Go have in the place of a number of workers.
        environment = {"GOMAXPROCS": str(WORKERS)}
        with process.started(self.name, command, place.directory, cores, environment) as started:
            process.until(lambda: self._is_ready(place), started, place.directory)
            yield started

    # Private

    def _is_ready(self, place: Place) -> bool:
        if process.status(place.public, "/") != 200:
            return False
        # It alone refuses a switch to a side that is not proven healthy.
        return self.name != "bgproxy" or levers.is_healthy(place)


def find(program: str) -> str:
    found = process.find(program)
    if found is None:
        raise ContenderError(
            f"{program} is not installed: `make cutover` does that (nginx and haproxy as root)"
        )
    return found


PEERS: Final = (
    Peer(
        "bgproxy",
        sys.executable,
        lambda here: ["-m", "bgproxy", "run", "-c", str(here / "bgproxy.yaml")],
        (),
        {"bgproxy.yaml": _BGPROXY},
        levers.bgproxy,
        "`POST /admin/switch`, which returns when the switch is on the disk and in force",
    ),
    Peer(
        "nginx",
        "nginx",
        lambda here: ["-p", str(here), "-c", str(here / "nginx.conf")],
        ("-v",),
        {"upstream.conf": levers.NGINX_UPSTREAM, "nginx.conf": _NGINX},
        levers.nginx,
        "upstream rewritten, then `nginx -s reload`, which returns when the master was sent a signal",
    ),
    Peer(
        "haproxy",
        "haproxy",
        lambda here: ["-db", "-f", str(here / "haproxy.cfg")],
        ("-v",),
        {levers.MAP: "active {active}\n", "haproxy.cfg": _HAPROXY},
        levers.haproxy,
        "`set map` on the runtime socket, which is not kept over a restart",
    ),
    Peer(
        "envoy",
        "envoy",
        lambda here: [
            *("-c", str(here / "envoy.yaml"), "--concurrency", str(WORKERS)),
            *("--disable-hot-restart", "-l", "warn"),
        ],
        ("--version",),
        {
            "envoy.yaml": _ENVOY
            % (levers.RUNTIME_KEY, "".join(_ENVOY_CLUSTER.replace("SIDE", side) for side in SIDES))
        },
        levers.envoy,
        "`POST /runtime_modify` of a route's `runtime_fraction`, which is not kept over a restart",
    ),
    Peer(
        "caddy",
        "caddy",
        lambda here: ["run", "--config", str(here / "Caddyfile"), "--adapter", "caddyfile"],
        ("version",),
        {"Caddyfile": levers.CADDYFILE},
        levers.caddy,
        "the whole Caddyfile to `POST /load`, which returns when the new configuration runs; as set up here, it is not kept over a restart",
    ),
    Peer(
        "traefik",
        "traefik",
        lambda here: [f"--configfile={here / 'traefik.yaml'}"],
        ("version",),
        {"traefik.yaml": _TRAEFIK, "routes.yaml": levers.TRAEFIK_ROUTES},
        levers.traefik,
        "the file provider's file replaced by `rename`, which nothing acknowledges",
    ),
)
