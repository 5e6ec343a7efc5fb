"""Errors as problem+json (RFC 9457)."""

from __future__ import annotations

import re
from typing import Any

import orjson
from aiohttp import web

from bgproxy.errors import ConfigError, ControlError


def problem(error: ControlError) -> web.Response:
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in error.extra:
        headers["Retry-After"] = str(error.extra["retry_after"])
    if isinstance(error, ConfigError):
        rows = [{"line": each.line, "path": each.path, "message": each.message} for each in error.problems]
        return _response(422, "invalid-configuration", error.title, error.detail, {"problems": rows}, headers)
    words = re.findall(r"[A-Z][a-z]*", type(error).__name__)
    return _response(error.status, "-".join(words).lower(), error.title, error.detail, error.extra, headers)


def plain_problem(
    status: int, title: str, detail: str, *, headers: dict[str, str] | None = None
) -> web.Response:
    return _response(status, "-".join(title.lower().split()), title, detail, {}, headers)


def _response(
    status: int, kind: str, title: str, detail: str, extra: dict[str, Any], headers: dict[str, str] | None
) -> web.Response:
    body = {
        "type": f"urn:bgproxy:problem:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        **extra,
    }
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/problem+json", headers=headers
    )
