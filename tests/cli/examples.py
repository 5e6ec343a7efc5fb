"""Answers of the admin API, as small as they can be and still complete."""

from __future__ import annotations

from typing import Any

NOW = 1_700_000_000.0


def upstream(address: str, **changes: Any) -> dict[str, Any]:
    return {
        "upstream": address,
        "address": address,
        "weight": 1,
        "health": "healthy",
        "reason": "status 200",
        "since": NOW - 200,
        "in_flight": 1,
        "requests": 600,
        "failures": 0,
        **changes,
    }


def pool(*upstreams: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "version": "v1",
        "role": "active",
        "healthy": True,
        "in_flight": 3,
        "tunnels": 0,
        "idle_connections": 2,
        "requests": 1234,
        "responses": {"1xx": 0, "2xx": 1234, "3xx": 0, "4xx": 0, "5xx": 0, "none": 0},
        "latency_ms": {"p50": 1.2, "p99": 9.1},
        "safe_to_stop": False,
        "upstreams": list(upstreams),
        **changes,
    }


def responses(requests: int, errors: int) -> dict[str, Any]:
    answered = {"1xx": 0, "2xx": requests - errors, "3xx": 0, "4xx": 0, "5xx": errors, "none": 0}
    return {"requests": requests, "responses": answered}


def service(name: str = "web", **changes: Any) -> dict[str, Any]:
    return {
        "service": name,
        "active": "blue",
        "idle": "green",
        "previous": None,
        "generation": 2,
        "canary": None,
        "hold": None,
        "drain": None,
        "proxy_errors": 0,
        "pools": {
            "blue": pool(upstream("127.0.0.1:8001"), upstream("127.0.0.1:8002", weight=2)),
            "green": pool(
                upstream("[::1]:8003", health="unhealthy", reason="connection refused", in_flight=0),
                **responses(0, 0),
                version="v2",
                role="idle",
                in_flight=0,
                safe_to_stop=True,
                latency_ms={"p50": None, "p99": None},
            ),
        },
        **changes,
    }


def status(*services: dict[str, Any], **changes: Any) -> dict[str, Any]:
    worker = {"block": 0, "state": "serving", "current": True, "connections": 17, "accepted": 90, "parked": 0}
    return {
        "generation": 2,
        "sequence": 9,
        "version": "0.1.0",
        "compiled": False,
        "supervisor_pid": 1,
        "controller": {"pid": 2, "started_at": NOW - 7200},
        "workers": [{"pid": 3, **worker}, {"pid": 4, **worker}],
        "services": list(services) or [service()],
        **changes,
    }


def event(number: int, text: str, **changes: Any) -> dict[str, Any]:
    return {"id": number, "time": NOW + number, "kind": "switch", "service": "web", "text": text, **changes}


SWITCHED = {
    "generation": 12,
    "service": "web",
    "from": "blue",
    "to": "green",
    "milliseconds": 1.84,
    "sync_milliseconds": 0.9,
    "held_milliseconds": 0,
    "forced": False,
    "services": [{"service": "web", "from": "blue", "to": "green"}],
}
