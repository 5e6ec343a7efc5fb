"""The proxies that are judged, each as a process of its own for every lane, under the same limits.

Every one has what a careful operator would give it in production: HTTP/1.1 and kept-alive connections to two upstreams, X-Forwarded-For,
WebSockets, streaming without buffers, retries that cannot repeat a POST, and `Via` where it can be had. Passive ejection of
upstreams is off and active checks are rare, so that no case decides about the next one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.contenders.process import ContenderError, started, status, until
from bgproxy.demo.stage import free_ports

# The limits that all of them are given. Where a program has only one for several, it gets that one.
CONNECT_S: Final = 1
HEAD_S: Final = 2
BODY_S: Final = 2
RESPONSE_S: Final = 2
IDLE_S: Final = 3
REQUEST_LINE_BYTES: Final = 8 << 10
HEADER_BLOCK_BYTES: Final = 32 << 10
HEADER_COUNT: Final = 100

_BGPROXY: Final = """\
workers: 1
listeners: [{{name: public, bind: "127.0.0.1:{port}"}}]
admin: {{bind: "127.0.0.1:{admin}"}}
state: {{backend: memory}}
services:
  web:
    active: blue
    balance: round_robin
    pools:
      blue:  {{upstreams: ["127.0.0.1:{a}", "127.0.0.1:{b}"]}}
      green: {{upstreams: []}}
    health: {{kind: tcp, interval: 1h, healthy_after: 1}}
    timeouts: {{connect: {connect}s, request_head: {head}s, request_body: {body}s, response_head: {response}s, idle: {idle}s}}
    retries: {{attempts: 2, budget: 100%}}
"""

_NGINX: Final = """\
{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_timeout {idle}s;
    client_header_timeout {head}s;
    client_body_timeout {body}s;
    large_client_header_buffers 4 8k;
    client_max_body_size 0;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_host $any_host {{ default $http_host; '' $host; }}
    map $http_via $all_via {{ default "$http_via, 1.1 nginx"; '' "1.1 nginx"; }}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream web {{
        server 127.0.0.1:{a} max_fails=0;
        server 127.0.0.1:{b} max_fails=0;
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Host $any_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Via $all_via;
        proxy_pass_header Server;
        proxy_buffering off;
        proxy_buffer_size 16k;
        proxy_buffers 8 16k;
        proxy_request_buffering off;
        proxy_connect_timeout {connect}s;
        proxy_next_upstream error timeout;
        location / {{
            proxy_pass http://web;
            proxy_read_timeout {response}s;
        }}
        location /chat {{
            proxy_pass http://web;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""

_HAPROXY: Final = """\
global
    tune.bufsize 32768
    tune.http.maxhdr {count}
defaults
    mode http
    timeout connect {connect}s
    timeout http-request {head}s
    timeout http-keep-alive {idle}s
    timeout client {body}s
    timeout server {response}s
    timeout tunnel 60s
    option forwardfor
    option redispatch 1
    retries 2
    retry-on conn-failure empty-response
    http-reuse safe
frontend public
    bind 127.0.0.1:{port}
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS PUT DELETE }}
    http-request set-header X-Forwarded-Proto http
    http-request add-header Via "1.1 haproxy"
    default_backend web
backend web
    balance roundrobin
    server a 127.0.0.1:{a}
    server b 127.0.0.1:{b}
"""

_ENVOY: Final = """\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: public
          codec_type: HTTP1
          use_remote_address: true
          via: "1.1 envoy"
          server_header_transformation: PASS_THROUGH
          proxy_100_continue: true
          drain_timeout: 1s
          request_headers_timeout: {head}s
          stream_idle_timeout: {body}s
          max_request_headers_kb: 32
          common_http_protocol_options: {{idle_timeout: {idle}s, max_headers_count: {count}}}
          http_protocol_options: {{accept_http_10: true, default_host_for_http_10: wire.test, enable_trailers: true}}
          upgrade_configs: [{{upgrade_type: websocket}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: web
              domains: ["*"]
              routes:
              - match: {{prefix: /chat}}
                route: {{cluster: web, timeout: 0s, idle_timeout: 0s, retry_policy: {{retry_on: "reset,connect-failure", num_retries: 2}}}}
              - match: {{prefix: /, headers: [{{name: ":method", string_match: {{safe_regex: {{regex: "GET|HEAD|OPTIONS|PUT|DELETE"}}}}}}]}}
                route: {{cluster: web, timeout: 0s, retry_policy: {{retry_on: "reset,connect-failure", num_retries: 2, per_try_idle_timeout: {response}s}}}}
              - match: {{prefix: /}}
                route: {{cluster: web, timeout: 0s, retry_policy: {{retry_on: "connect-failure,reset-before-request", num_retries: 2, per_try_idle_timeout: {response}s}}}}
  clusters:
  - name: web
    connect_timeout: {connect}s
    lb_policy: ROUND_ROBIN
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http_protocol_options: {{enable_trailers: true}}}}
    load_assignment:
      cluster_name: web
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {a}}}}}}}
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {b}}}}}}}
"""

_CADDY: Final = """\
{{
    admin off
    auto_https off
    persist_config off
    storage file_system {directory}
    servers {{
        protocols h1
        max_header_size {block}
        timeouts {{
            read_header {head}s
            read_body {body}s
            idle {idle}s
        }}
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{a} 127.0.0.1:{b} {{
        lb_policy round_robin
        lb_retries 2
        lb_retry_match {{
            method GET HEAD OPTIONS PUT DELETE
        }}
        flush_interval -1
        transport http {{
            compression off
            dial_timeout {connect}s
            max_response_header 64KiB
            response_header_timeout {response}s
        }}
    }}
}}
"""

_TRAEFIK: Final = """\
entryPoints:
  public:
    address: "127.0.0.1:{port}"
    http: {{maxHeaderBytes: {block}}}
    transport: {{respondingTimeouts: {{readTimeout: {head}s, idleTimeout: {idle}s}}}}
providers: {{file: {{filename: {directory}/routes.yaml, watch: false}}}}
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
"""

_TRAEFIK_ROUTES: Final = """\
http:
  routers: {{web: {{rule: "PathPrefix(`/`)", service: web, middlewares: [via, again]}}}}
  middlewares:
    via: {{headers: {{customRequestHeaders: {{Via: 1.1 traefik}}}}}}
    again: {{retry: {{attempts: 3, status: ["502"]}}}}
  services:
    web:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{a}"}}, {{url: "http://127.0.0.1:{b}"}}]
        serversTransport: web
        responseForwarding: {{flushInterval: 1ms}}
  serversTransports:
    web: {{forwardingTimeouts: {{dialTimeout: {connect}s, responseHeaderTimeout: {response}s}}}}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """`files` are templates by name, `command` is told the directory that they are in."""

    name: str
    files: dict[str, str]
    command: Callable[[Path], list[str]]
    version: tuple[str, ...]

    def said_version(self) -> str:
        said = subprocess.run(
            [_program(self.version[0]), *self.version[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        found = re.search(r"\d+\.\d+[\w.\-+~]*", said.stdout + said.stderr)
        return found[0] if found else "unknown"


PROXIES: Final = (
    Proxy(
        "bgproxy",
        {"bgproxy.yaml": _BGPROXY},
        lambda here: [sys.executable, "-m", "bgproxy", "run", "-c", str(here / "bgproxy.yaml")],
        (sys.executable, "-c", "import bgproxy; print(bgproxy.__version__)"),
    ),
    Proxy(
        "nginx",
        {"nginx.conf": _NGINX},
        lambda here: [_program("nginx"), "-p", str(here), "-c", str(here / "nginx.conf")],
        ("nginx", "-v"),
    ),
    Proxy(
        "haproxy",
        {"haproxy.cfg": _HAPROXY},
        lambda here: [_program("haproxy"), "-db", "-f", str(here / "haproxy.cfg")],
        ("haproxy", "-v"),
    ),
    Proxy(
        "envoy",
        {"envoy.yaml": _ENVOY},
        lambda here: [
            _program("envoy"),
            "-c",
            str(here / "envoy.yaml"),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "warn",
        ],
        ("envoy", "--version"),
    ),
    Proxy(
        "caddy",
        {"Caddyfile": _CADDY},
        lambda here: [
            _program("caddy"),
            "run",
            "--config",
            str(here / "Caddyfile"),
            "--adapter",
            "caddyfile",
        ],
        ("caddy", "version"),
    ),
    Proxy(
        "traefik",
        {"traefik.yaml": _TRAEFIK, "routes.yaml": _TRAEFIK_ROUTES},
        lambda here: [_program("traefik"), f"--configfile={here / 'traefik.yaml'}"],
        ("traefik", "version"),
    ),
)


@contextmanager
def running(proxy: Proxy, directory: Path, upstreams: dict[str, int]) -> Iterator[int]:
    """The port of a proxy in front of these upstreams, which have to answer by now."""
    directory.mkdir()
    port, admin = free_ports(2)
    values = {
        "port": port,
        "admin": admin,
        "directory": directory,
        "user": "user root;\n" if os.geteuid() == 0 else "",
        "connect": CONNECT_S,
        "head": HEAD_S,
        "body": BODY_S,
        "response": RESPONSE_S,
        "idle": IDLE_S,
        "line": REQUEST_LINE_BYTES,
        "block": HEADER_BLOCK_BYTES,
        "count": HEADER_COUNT,
        **upstreams,
    }
    for name, template in proxy.files.items():
        (directory / name).write_text(template.format(**values))
    cores = os.sched_getaffinity(0)
    with started(proxy.name, proxy.command(directory), directory, cores) as process:
        until(lambda: status(port, "/") == 200, process, directory)
        yield port


def _program(name: str) -> str:
    """Beside this Python, on the path, or where Debian keeps daemons."""
    here = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join([here, os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        raise ContenderError(f"{name} is not installed: `make wire` does that")
    return found
