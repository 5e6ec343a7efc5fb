"""HAProxy with one thread, and its connections to upstreams shared by all clients."""

from __future__ import annotations

from typing import Final

from benchmarks.contenders.program import BOTH, SAID, Place, Program
from benchmarks.scenarios import CANARY_PERCENT, Setting, host

_COMMON: Final = """\
global
    nbthread 1
{log_target}
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout tunnel 1h
    option forwardfor
    option httpchk GET /health
    http-reuse always
    balance roundrobin
    default-server check inter {health_s}s
{log}
frontend public
    bind 127.0.0.1:{port}{tls} backlog 4096
    http-request set-header X-Forwarded-Proto {scheme}
{choice}
    default_backend blue
"""
_TLS: Final = " ssl crt {both} ssl-min-ver TLSv1.2 alpn http/1.1"
# It has no log files of its own: what it says on standard output goes to one.
_LOG: Final = """\
    log global
    log-format '{"time":"%tr","client":"%ci","method":"%HM","uri":%{+Q}HPO,"status":%ST,"bytes":%B,"ms":%Ta,"upstream":"%s"}'
"""


def _backend(name: str, servers: list[str], more: str = "") -> str:
    lines = "\n".join(f"    server {server}" for server in servers)
    return f"backend {name}\n{more}{lines}\n"


def _write(place: Place) -> list[str]:
    choice = tls = log = log_target = ""
    blue = _backend("blue", [f"u{number} {address}" for number, address in enumerate(place.blue)])
    others = [_backend("green", [f"u {address}" for address in place.green])]
    match place.setting:
        case Setting.TLS:
            tls = _TLS.format(both=place.behind.certificates / BOTH)
        case Setting.CANARY:
            choice = f"    use_backend green if {{ rand(100) lt {CANARY_PERCENT} }}"
        case Setting.STICKY:
            shares = {"blue": (place.blue, 100 - CANARY_PERCENT), "green": (place.green, CANARY_PERCENT)}
            servers = [
                f"{side} {addresses[0]} weight {weight} cookie {side}"
                for side, (addresses, weight) in shares.items()
            ]
            blue = _backend("blue", servers, "    cookie side insert indirect nocache httponly\n")
        case Setting.ACCESS_LOG:
            log_target, log = "    log stdout format raw local0 info", _LOG
        case Setting.SERVICES:
            hosts = place.directory / "hosts.map"
            hosts.write_text("".join(f"{name} {name}\n" for name in place.services))
            choice = f"    use_backend %[req.hdr(host),field(1,:),lower,map({hosts},{host(0)})]"
            others += [_backend(name, [f"u {address}"]) for name, address in place.services.items()]
    common = _COMMON.format(
        port=place.port,
        tls=tls,
        log=log,
        log_target=log_target,
        choice=choice,
        scheme=place.scheme,
        health_s=place.health_s,
    )
    path = place.directory / "haproxy.cfg"
    path.write_text("\n".join([common, blue, *others]))
    return ["haproxy", "-db", "-f", str(path)]


HAPROXY: Final = Program(
    "haproxy", _write, ("haproxy", "-v"), "`make bench` as root, or `apt-get install haproxy`", log=SAID
)
