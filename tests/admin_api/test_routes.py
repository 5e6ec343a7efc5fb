from __future__ import annotations

from .server import DOCUMENT, Server


async def test_a_session_over_all_calls_gets_what_is_documented(api: Server) -> None:
    """The server of the tests holds every answer against its schema."""
    new = await api.stage.backend()
    session: list[tuple[str, str, object]] = [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/admin/openapi.json", None),
        ("PUT", "/admin/maintenance", {"dry_run": True}),
        ("PUT", "/admin/maintenance", {"retry_after": "10m", "reason": "moving"}),
        ("GET", "/admin/status", None),
        ("DELETE", "/admin/maintenance", {"dry_run": True}),
        ("DELETE", "/admin/maintenance", None),
        ("PUT", "/admin/services/web/pools/green", {"upstreams": [new.address], "version": "v3"}),
        ("POST", "/admin/switch", {"dry_run": True}),
        ("PUT", "/admin/canary", {"weight": 5, "force": True, "match": [{"cookie": "a", "value": "b"}]}),
        ("GET", "/admin/status", None),
        ("PUT", "/admin/canary", {"weight": 5, "force": True, "dry_run": True}),
        ("DELETE", "/admin/canary", {"dry_run": True}),
        ("DELETE", "/admin/canary", None),
        ("POST", "/admin/hold", {"dry_run": True}),
        ("POST", "/admin/hold", {"timeout": 60}),
        ("GET", "/admin/services", None),
        ("POST", "/admin/release-hold", {"dry_run": True}),
        ("POST", "/admin/release-hold", None),
        ("POST", "/admin/switch", {"force": True, "reason": "session"}),
        ("POST", "/admin/rollback", {"dry_run": True}),
        ("POST", "/admin/rollback", None),
        ("POST", "/admin/services/web/drain", {"dry_run": True}),
        ("POST", "/admin/services/web/drain", None),
        ("GET", "/admin/services/web", None),
        ("GET", "/admin/history?limit=5", None),
        ("GET", "/admin/events?follow=false", None),
        ("GET", "/admin/mirror", None),
        ("GET", "/metrics", None),
        ("POST", "/admin/reload", None),
        ("POST", "/admin/upgrade", None),
    ]
    for method, path, body in session:
        answer = await api.call(method, path, body)
        assert answer.status < 300, (method, path, answer)

    documented = {
        (method.upper(), path, int(next(iter(call["responses"]))))
        for path, methods in DOCUMENT["paths"].items()
        for method, call in methods.items()
    }
    assert api.answered == documented
