"""nginx and HAProxy as they stand beside bgproxy in a row: files and command lines, nothing else.

Both get what a careful operator would give them: kept-alive connections to the upstreams, least connections first,
and retries on another upstream that cannot repeat a POST. As for bgproxy, nothing is ejected.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bgproxy.model import Timeouts

_NGINX: Final = """\
{user}daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/nginx-errors.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    upstream web {{
        least_conn;
{servers}
        keepalive 256;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {scheme}://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_connect_timeout {connect}ms;
            proxy_read_timeout {response}ms;
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 3;
{tls}        }}
    }}
}}
"""

_NGINX_TLS: Final = """\
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {authority};
            proxy_ssl_name app.test;
            proxy_ssl_server_name on;
"""

_HAPROXY: Final = """\
global
    nbthread {workers}
defaults
    mode http
    timeout connect {connect}ms
    timeout client 60s
    timeout server {response}ms
    option redispatch 1
    retries 2
    retry-on conn-failure empty-response
    http-reuse safe
frontend public
    bind 127.0.0.1:{port} backlog 4096
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS PUT DELETE }}
    default_backend web
backend web
    balance leastconn
{servers}
"""

_HAPROXY_TLS: Final = " ssl verify required ca-file {authority} sni str(app.test) verifyhost app.test"


def nginx(directory: Path, values: Mapping[str, Any], addresses: Sequence[str], authority: str) -> list[str]:
    path = directory / "nginx.conf"
    text = _NGINX.format(
        **values,
        directory=directory,
        user="user root;\n" if os.geteuid() == 0 else "",  # who may read our directory
        servers="\n".join(f"        server {address} max_fails=0;" for address in addresses),
        scheme="https" if authority else "http",
        tls=_NGINX_TLS.format(authority=authority) if authority else "",
    )
    path.write_text(text)
    return ["nginx", "-p", str(directory), "-c", str(path)]


def haproxy(
    directory: Path, values: Mapping[str, Any], addresses: Sequence[str], authority: str
) -> list[str]:
    path = directory / "haproxy.cfg"
    tls = _HAPROXY_TLS.format(authority=authority) if authority else ""
    servers = (f"    server s{number} {address}{tls}" for number, address in enumerate(addresses))
    path.write_text(_HAPROXY.format(**values, servers="\n".join(servers)))
    return ["haproxy", "-db", "-f", str(path)]


CONTENDERS: Final[dict[str, Callable[[Path, Mapping[str, Any], Sequence[str], str], list[str]]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
}


def find(program: str) -> str | None:
    """On the path, or where Debian keeps daemons."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def haproxy_version() -> str:
    said = subprocess.run([find("haproxy") or "haproxy", "-v"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d[\w.]*)", said.stdout)
    return found[1] if found else "unknown"


def is_comparable(service: Mapping[str, Any], *, scripted: bool) -> bool:
    """Whether the row needs nothing but what all three can be told in the same words."""
    return not scripted and service.keys() <= {"timeouts"}


def milliseconds(timeouts: Mapping[str, str]) -> dict[str, int]:
    """The two timeouts of a row as both want them, `1s` and `300ms`; those left out are bgproxy's own."""
    defaults = Timeouts()
    own = {"connect": defaults.connect_s, "response": defaults.response_head_s}
    given = {"connect": timeouts.get("connect"), "response": timeouts.get("response_head")}
    return {
        name: round(own[name] * 1000) if text is None else _milliseconds(text) for name, text in given.items()
    }


# Private


def _milliseconds(text: str) -> int:
    return int(text.removesuffix("ms")) if text.endswith("ms") else int(text.removesuffix("s")) * 1000
