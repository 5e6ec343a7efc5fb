"""nginx as a reverse proxy: the reference that everybody is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from benchmarks.contenders.behind import NO_ACCESS_LOG, nginx_command
from benchmarks.contenders.program import Place, Program
from benchmarks.scenarios import (
    CANARY_PERCENT,
    LARGE_BUFFERED,
    MIB_BUFFERED,
    UPLOAD_STREAMED,
    Setting,
)
from bgproxy.model import Keepalive

_COMMON: Final = """\
    client_max_body_size 0;
    server_names_hash_max_size 2048;
    proxy_http_version 1.1;
    proxy_set_header Connection {connection};
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
"""
_UPSTREAM: Final = """\
    upstream {name} {{
{servers}
        keepalive {idle_connections};
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
"""
# Its default buffers are smaller than 64 KiB: nginx then writes to a temporary file whatever the client does not
# take at once, and every upload larger than 16 KiB before it is sent on. That costs it most of its time, so
# it is also measured where a careful operator has told it otherwise.
_SERVER: Final = """\
    server {{
        listen 127.0.0.1:{port}{tls} reuseport backlog=4096;
{more}
        location / {{ proxy_pass http://{pool}; }}
        location = {large_buffered} {{
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_pass http://{pool};
        }}
        location = {mib_buffered} {{
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_max_temp_file_size 0;
            proxy_pass http://{pool};
        }}
        location = {upload_streamed} {{
            proxy_request_buffering off;
            proxy_pass http://{pool};
        }}
    }}
"""
_NAMED_SERVER: Final = """\
    server {{
        listen 127.0.0.1:{port};
        server_name {host};
        location / {{ proxy_pass http://{pool}; }}
    }}
"""
_TLS: Final = """\
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
"""
_WEBSOCKET: Final = """\
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    proxy_set_header Upgrade $http_upgrade;
"""
_SPLIT: Final = """\
    split_clients $request_id {variable} {{ {percent}% green; * blue; }}
"""
# Whoever has drawn a side is told it, and keeps it.
_STICKY: Final = """\
    map $cookie_side $pool { blue blue; green green; default $drawn; }
    map $cookie_side $new_side { blue ''; green ''; default "side=$pool; Path=/; Max-Age=3600; HttpOnly"; }
    add_header Set-Cookie $new_side;
"""
# Buffered, as its manual has it for busy sites: a line alone would be a system call for each request.
_ACCESS_LOG: Final = """\
    log_format json escape=json '{{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method",'
        '"uri":"$request_uri","status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,'
        '"upstream":"$upstream_addr"}}';
    access_log {path} json buffer=64k flush=1s;
"""


def _upstream(name: str, addresses: Iterable[str]) -> str:
    servers = "\n".join(f"        server {address};" for address in addresses)
    return _UPSTREAM.format(name=name, servers=servers, idle_connections=Keepalive().connections)


def _write(place: Place) -> list[str]:
    setting = place.setting
    connection = "$connection_upgrade" if setting is Setting.WEBSOCKET else '""'
    parts = [_COMMON.format(connection=connection)]
    pool, tls, more, access_log = "blue", "", "", NO_ACCESS_LOG
    match setting:
        case Setting.WEBSOCKET:
            parts.append(_WEBSOCKET)
        case Setting.CANARY:
            parts.append(_SPLIT.format(variable="$pool", percent=CANARY_PERCENT))
            pool = "$pool"
        case Setting.STICKY:
            parts += [_SPLIT.format(variable="$drawn", percent=CANARY_PERCENT), _STICKY]
            pool = "$pool"
        case Setting.ACCESS_LOG:
            access_log = _ACCESS_LOG.format(path=place.access_log)
        case Setting.TLS:
            tls, more = " ssl", _TLS.format(certificate=place.certificate, key=place.key)
    if setting is Setting.SERVICES:
        for number, (host, address) in enumerate(place.services.items()):
            parts += [
                _upstream(f"s{number}", [address]),
                _NAMED_SERVER.format(port=place.port, host=host, pool=f"s{number}"),
            ]
    parts += [
        _upstream("blue", place.blue),
        _upstream("green", place.green),
        _SERVER.format(
            port=place.port,
            tls=tls,
            more=more,
            pool=pool,
            large_buffered=LARGE_BUFFERED,
            mib_buffered=MIB_BUFFERED,
            upload_streamed=UPLOAD_STREAMED,
        ),
    ]
    return nginx_command(place.directory, "".join(parts), workers=place.workers, access_log=access_log)


NGINX: Final = Program(
    "nginx", _write, ("nginx", "-v"), "`make bench` as root, or `apt-get install nginx-light`"
)
