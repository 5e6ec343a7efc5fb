"""What is behind the proxies: an nginx that answers from memory, and a WebSocket echo. Never measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trustme

from benchmarks import scenarios
from benchmarks.contenders.process import ContenderError, find, started, status, until
from benchmarks.contenders.program import AUTHORITY, BOTH, CERTIFICATE, KEY, Backend, many
from benchmarks.scenarios import HEALTH
from bgproxy.demo.stage import free_ports

# Server-side includes, of which there are none in the file, make it forget the length: hence the chunks.
# Uploads go through a second hop of its own, because nginx would otherwise answer before it has read them.
_SERVERS: Final = """\
    open_file_cache max=16;
    open_file_cache_valid 1h;
    upstream itself {{ server unix:{directory}/itself.sock; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{blue} backlog=4096;
        listen 127.0.0.1:{green} backlog=4096;
        listen unix:{directory}/itself.sock;
{many}
        default_type application/json;
        client_max_body_size 0;
        location = {small} {{ return 200 '{small_body}'; }}
        location = {health} {{ return 200 '{{"status":"ok"}}'; }}
        location = {told} {{
            return 200 '{{"host":"$http_host","for":"$http_x_forwarded_for","proto":"$http_x_forwarded_proto","port":$server_port,"before":$connection_requests}}';
        }}
        location = {kib} {{ alias {directory}/1k; }}
        location = {large} {{ alias {directory}/large; }}
        location = {large_buffered} {{ alias {directory}/large; }}
        location = {mib} {{ alias {directory}/1m; }}
        location = {mib_buffered} {{ alias {directory}/1m; }}
        location = {chunked} {{
            alias {directory}/chunked;
            ssi on;
            ssi_types *;
            output_buffers 8 {chunk_bytes};
        }}
        location ~ ^{upload} {{
            client_body_buffer_size 2m;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            rewrite ^ {small} break;
            proxy_pass http://itself;
        }}
    }}
"""
_SIZES: Final = {
    "1k": scenarios.KIB_BYTES,
    "large": scenarios.LARGE_BYTES,
    "1m": scenarios.MIB_BYTES,
    "chunked": scenarios.CHUNKED_BYTES,
}
NO_ACCESS_LOG: Final = "    access_log off;"
# What nginx needs to run as a child, in a directory of its own.
_NGINX: Final = """\
{user}daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
{access_log}
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


@contextmanager
def backend(directory: Path, cores: set[int]) -> Iterator[Backend]:
    """Files are in the page cache, everything else is in the configuration."""
    directory.mkdir()
    _certify(directory)
    for name, size in _SIZES.items():
        (directory / name).write_bytes(b"x" * size)
    blue, green, echo = free_ports(3)
    servers = _SERVERS.format(
        directory=directory,
        blue=blue,
        green=green,
        many="\n".join(f"        listen {address} backlog=4096;" for address in many(blue)),
        small=scenarios.SMALL,
        small_body=scenarios.SMALL_BODY,
        health=HEALTH,
        told=scenarios.TOLD,
        kib=scenarios.KIB,
        large=scenarios.LARGE,
        large_buffered=scenarios.LARGE_BUFFERED,
        mib=scenarios.MIB,
        mib_buffered=scenarios.MIB_BUFFERED,
        chunked=scenarios.CHUNKED,
        chunk_bytes=scenarios.CHUNK_BYTES,
        upload=scenarios.UPLOAD,
    )
    echoing = directory / "echo"
    echoing.mkdir()
    command = [sys.executable, "-m", "benchmarks.websocket_echo", "--port", str(echo)]
    with (
        started("backend", nginx_command(directory, servers), directory, cores) as process,
        started("echo", command, echoing, cores) as other,
    ):
        until(lambda: status(blue, HEALTH) == 200, process, directory)
        until(lambda: status(echo, HEALTH) == 200, other, echoing)
        yield Backend(blue, green, echo, directory)


def nginx_command(
    directory: Path, servers: str, *, workers: int = 1, access_log: str = NO_ACCESS_LOG
) -> list[str]:
    """Writes the configuration of an nginx with these `servers`."""
    # As root, nginx would hand over to a user who may not read our directory.
    user = "user root;\n" if os.geteuid() == 0 else ""
    path = directory / "nginx.conf"
    path.write_text(
        _NGINX.format(user=user, workers=workers, directory=directory, servers=servers, access_log=access_log)
    )
    program = find("nginx")
    if program is None:
        raise ContenderError("nginx is not installed: `make bench` as root does that")
    return [program, "-p", str(directory), "-c", str(path)]


# Private


def _certify(directory: Path) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("bench.test", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(directory / AUTHORITY)
    issued.cert_chain_pems[0].write_to_path(directory / CERTIFICATE)
    issued.private_key_pem.write_to_path(directory / KEY)
    issued.private_key_and_cert_chain_pem.write_to_path(directory / BOTH)
