"""What is behind bgproxy: one nginx on two thousand loopback addresses, answering from memory. Never measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.contenders.process import ContenderError, find, started, status, until
from benchmarks.scenarios import HEALTH, SMALL, SMALL_BODY
from bgproxy.demo.stage import free_ports

ADDRESSES: Final = 2000
KIB: Final = 1024
BODIES_BYTES: Final = (0, KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)
_HOSTS_PER_NETWORK: Final = 250

# As many connections as the clients have, each of which may need one.
_NGINX: Final = """\
{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    open_file_cache max=16;
    open_file_cache_valid 1h;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=16384;
{listens}
        default_type application/json;
        location = {small} {{ return 200 '{small_body}'; }}
        location = {health} {{ return 200 '{{"status":"ok"}}'; }}
        location /body/ {{ root {directory}; }}
    }}
}}
"""


def addresses(port: int, count: int) -> list[str]:
    """Different upstreams for bgproxy, one process for us; 127.0.0.1 is the first of them."""
    if not 1 <= count <= ADDRESSES:
        raise ValueError(f"{count} upstreams: there are 1 to {ADDRESSES}")
    others = (
        f"127.0.{1 + number // _HOSTS_PER_NETWORK}.{2 + number % _HOSTS_PER_NETWORK}:{port}"
        for number in range(count - 1)
    )
    return [f"127.0.0.1:{port}", *others]


def path_of(body_bytes: int) -> str:
    return f"/body/{body_bytes}"


@contextmanager
def upstream(directory: Path, cores: set[int]) -> Iterator[int]:
    """The port at which it answers, on every address."""
    bodies = directory / "body"
    bodies.mkdir(parents=True)
    for size in BODIES_BYTES:
        (bodies / str(size)).write_bytes(b"x" * size)
    (port,) = free_ports(1)
    path = directory / "nginx.conf"
    path.write_text(
        _NGINX.format(
            # As root, nginx would hand over to a user who may not read our directory.
            user="user root;\n" if os.geteuid() == 0 else "",
            directory=directory,
            port=port,
            listens="\n".join(f"        listen {address};" for address in addresses(port, ADDRESSES)[1:]),
            small=SMALL,
            small_body=SMALL_BODY,
            health=HEALTH,
        )
    )
    program = find("nginx")
    if program is None:
        raise ContenderError("nginx is not installed: `make growth` as root does that")
    command = [program, "-p", str(directory), "-c", str(path)]
    with started("upstream", command, directory, cores) as process:
        until(lambda: status(port, HEALTH) == 200, process, directory)
        yield port
