"""Envoy with one worker thread and a static configuration, on the edge: it decides what X-Forwarded-For is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from benchmarks.contenders.program import Place, Program
from benchmarks.scenarios import CANARY_PERCENT, Setting

_TYPES: Final = "type.googleapis.com/envoy.extensions"
# Its default of 1024 connections and requests to a cluster is below what some scenarios need.
_ENOUGH: Final = 16_384

Json = dict[str, Any]


def _typed(name: str, **fields: object) -> Json:
    return {"@type": f"{_TYPES}.{name}", **fields}


def _cluster(name: str, addresses: Mapping[str, int] | Iterable[str], health_s: int) -> Json:
    """Addresses, with their weights if they have any."""
    weights = addresses if isinstance(addresses, Mapping) else dict.fromkeys(addresses, 1)
    endpoints = []
    for address, weight in weights.items():
        ip, _, port = address.rpartition(":")
        socket = {"socket_address": {"address": ip, "port_value": int(port)}}
        endpoints.append({"endpoint": {"address": socket}, "load_balancing_weight": weight})
    return {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": _ENOUGH, "max_pending_requests": _ENOUGH, "max_requests": _ENOUGH}
            ]
        },
        "health_checks": [
            {
                "timeout": "1s",
                "interval": f"{health_s}s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 2,
                "http_health_check": {"path": "/health"},
            }
        ],
    }


def _virtual_host(name: str, domains: list[str], route: Json) -> Json:
    return {"name": name, "domains": domains, "routes": [{"match": {"prefix": "/"}, "route": route}]}


def _write(place: Place) -> list[str]:
    setting, health_s = place.setting, place.health_s
    clusters = [_cluster("blue", place.blue, health_s), _cluster("green", place.green, health_s)]
    hosts = [_virtual_host("any", ["*"], {"cluster": "blue"})]
    filters = [{"name": "envoy.filters.http.router", "typed_config": _typed("filters.http.router.v3.Router")}]
    manager: Json = {
        "stat_prefix": "public",
        "use_remote_address": True,
        "http_filters": filters,
        "common_http_protocol_options": {"idle_timeout": "60s"},
        "request_headers_timeout": "10s",
    }
    chain: Json = {}
    match setting:
        case Setting.TLS:
            files = {
                "certificate_chain": {"filename": str(place.certificate)},
                "private_key": {"filename": str(place.key)},
            }
            tls = {"tls_certificates": [files], "alpn_protocols": ["http/1.1"]}
            chain["transport_socket"] = {
                "name": "envoy.transport_sockets.tls",
                "typed_config": _typed(
                    "transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context=tls
                ),
            }
        case Setting.WEBSOCKET:
            manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
        case Setting.CANARY:
            shares = {"blue": 100 - CANARY_PERCENT, "green": CANARY_PERCENT}
            weighted = [{"name": name, "weight": weight} for name, weight in shares.items()]
            hosts = [_virtual_host("any", ["*"], {"weighted_clusters": {"clusters": weighted}})]
        case Setting.STICKY:
            # A cookie that names the host, whose weight decided at first; both sides are one cluster for that.
            weights = {place.blue[0]: 100 - CANARY_PERCENT, place.green[0]: CANARY_PERCENT}
            clusters = [_cluster("blue", weights, health_s)]
            state = _typed(
                "http.stateful_session.cookie.v3.CookieBasedSessionState",
                cookie={"name": "side", "path": "/", "ttl": "3600s"},
            )
            session = _typed(
                "filters.http.stateful_session.v3.StatefulSession",
                session_state={"name": "envoy.http.stateful_session.cookie", "typed_config": state},
            )
            filters.insert(0, {"name": "envoy.filters.http.stateful_session", "typed_config": session})
        case Setting.ACCESS_LOG:
            line = {
                "time": "%START_TIME%",
                "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                "method": "%REQ(:METHOD)%",
                "uri": "%REQ(:PATH)%",
                "status": "%RESPONSE_CODE%",
                "bytes": "%BYTES_SENT%",
                "ms": "%DURATION%",
                "upstream": "%UPSTREAM_HOST%",
            }
            log = _typed(
                "access_loggers.file.v3.FileAccessLog",
                path=str(place.access_log),
                log_format={"json_format": line},
            )
            manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": log}]
        case Setting.SERVICES:
            clusters = [_cluster(name, [address], health_s) for name, address in place.services.items()]
            hosts = [_virtual_host(name, [name, f"{name}:*"], {"cluster": name}) for name in place.services]
    manager["route_config"] = {"virtual_hosts": hosts}
    connection_manager = "filters.network.http_connection_manager.v3.HttpConnectionManager"
    chain["filters"] = [
        {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": _typed(connection_manager, **manager),
        }
    ]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": place.port}}
    listener = {"address": address, "tcp_backlog_size": 4096, "filter_chains": [chain]}
    path = place.directory / "envoy.yaml"
    path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    return ["envoy", "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]


ENVOY: Final = Program("envoy", _write, ("envoy", "--version"), "`pip install -e '.[bench]'`")
