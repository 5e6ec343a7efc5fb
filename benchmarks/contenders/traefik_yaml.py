"""Traefik on one core with the file provider; its fast proxy is called experimental and stays off."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from benchmarks.contenders.program import Place, Program
from benchmarks.scenarios import CANARY_PERCENT, Setting

Json = dict[str, Any]


def _pool(place: Place, addresses: Iterable[str]) -> Json:
    return {
        "loadBalancer": {
            "servers": [{"url": f"http://{address}"} for address in addresses],
            "healthCheck": {"path": "/health", "interval": f"{place.health_s}s", "timeout": "1s"},
            "serversTransport": "patient",
        }
    }


def _routes(place: Place) -> Json:
    routers: Json = {"web": {"rule": "PathPrefix(`/`)", "service": "web", "entryPoints": ["public"]}}
    services: Json = {"web": _pool(place, place.blue)}
    routes: Json = {}
    match place.setting:
        case Setting.TLS:
            routers["web"]["tls"] = {}
            files = {"certFile": str(place.certificate), "keyFile": str(place.key)}
            routes["tls"] = {
                "stores": {"default": {"defaultCertificate": files}},
                "options": {"default": {"alpnProtocols": ["http/1.1"]}},
            }
        case Setting.CANARY | Setting.STICKY:
            weighted: Json = {
                "services": [
                    {"name": "blue", "weight": 100 - CANARY_PERCENT},
                    {"name": "green", "weight": CANARY_PERCENT},
                ],
            }
            if place.setting is Setting.STICKY:
                weighted["sticky"] = {"cookie": {"name": "side", "httpOnly": True, "maxAge": 3600}}
            services = {
                "web": {"weighted": weighted},
                "blue": _pool(place, place.blue),
                "green": _pool(place, place.green),
            }
        case Setting.SERVICES:
            routers, services = {}, {}
            for number, (host, address) in enumerate(place.services.items()):
                name = f"s{number}"
                routers[name] = {"rule": f"Host(`{host}`)", "service": name, "entryPoints": ["public"]}
                services[name] = _pool(place, [address])
    # It keeps 200 idle connections to an upstream unless told otherwise, fewer than the clients of one scenario.
    transport = {"maxIdleConnsPerHost": 1024, "forwardingTimeouts": {"dialTimeout": "1s"}}
    routes["http"] = {
        "routers": routers,
        "services": services,
        "serversTransports": {"patient": transport},
    }
    return routes


def _write(place: Place) -> list[str]:
    routes = place.directory / "routes.yaml"
    static: Json = {
        "entryPoints": {"public": {"address": f"127.0.0.1:{place.port}"}},
        "providers": {"file": {"filename": str(routes), "watch": False}},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    if place.setting is Setting.ACCESS_LOG:
        static["accessLog"] = {"filePath": str(place.access_log), "format": "json", "bufferingSize": 100}
    routes.write_text(json.dumps(_routes(place)))
    path = place.directory / "traefik.yaml"
    path.write_text(json.dumps(static))
    return ["traefik", f"--configfile={path}"]


TRAEFIK: Final = Program(
    "traefik",
    _write,
    ("traefik", "version"),
    "`pip install -e '.[bench]'`",
    environment={"GOMAXPROCS": "1"},
)
