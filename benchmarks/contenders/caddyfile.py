"""Caddy on one core, without what a site behind it would not want: redirects to TLS, an admin API, gzip to upstreams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from benchmarks.contenders.program import Place, Program
from benchmarks.scenarios import CANARY_PERCENT, Setting

# It keeps 32 idle connections to an upstream unless told otherwise, fewer than there are clients.
_PROXY: Final = """\
    reverse_proxy {upstreams} {{
        lb_policy {policy}
        health_uri /health
        health_interval {health_s}s
        health_timeout 1s
        transport http {{
            compression off
            dial_timeout 1s
            keepalive 60s
            keepalive_idle_conns 16384
            keepalive_idle_conns_per_host 1024
        }}
    }}
"""
_SITE: Final = """\
{address} {{
    bind 127.0.0.1
{more}{proxy}}}
"""
_GLOBAL: Final = """\
{{
    admin off
    auto_https off
    persist_config off
    storage file_system {directory}
    servers {{
        protocols h1
        timeouts {{
            read_header 10s
            idle 60s
        }}
    }}
}}
"""
_LOG: Final = """\
    log {{
        output file {path} {{
            roll_disabled
        }}
        format json
    }}
"""


def _proxy(place: Place, upstreams: Iterable[str], policy: str = "round_robin") -> str:
    return _PROXY.format(upstreams=" ".join(upstreams), policy=policy, health_s=place.health_s)


def _write(place: Place) -> list[str]:
    upstreams, policy, more = place.blue, "round_robin", ""
    weights = f"weighted_round_robin {100 - CANARY_PERCENT} {CANARY_PERCENT}"
    match place.setting:
        case Setting.TLS:
            more = f"    tls {place.certificate} {place.key}\n"
        case Setting.CANARY:
            upstreams, policy = place.blue + place.green, weights
        case Setting.STICKY:
            upstreams = place.blue + place.green
            policy = f"cookie side secret-of-the-benchmark {{\n            fallback {weights}\n        }}"
        case Setting.ACCESS_LOG:
            more = _LOG.format(path=place.access_log)
    if place.setting is Setting.SERVICES:
        sites = [
            _SITE.format(address=f"http://{host}:{place.port}", more="", proxy=_proxy(place, [address]))
            for host, address in place.services.items()
        ]
    else:
        proxy = _proxy(place, upstreams, policy)
        sites = [_SITE.format(address=f"{place.scheme}://:{place.port}", more=more, proxy=proxy)]
    path = place.directory / "Caddyfile"
    path.write_text("".join([_GLOBAL.format(directory=place.directory), *sites]))
    return ["caddy", "run", "--config", str(path), "--adapter", "caddyfile"]


CADDY: Final = Program(
    "caddy",
    _write,
    ("caddy", "version"),
    "`pip install -e '.[bench]'`",
    # Threads of its runtime that wait for each other on one core would count against it.
    environment={"GOMAXPROCS": "1"},
)
