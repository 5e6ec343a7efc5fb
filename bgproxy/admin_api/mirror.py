"""The call that shows what a service's idle pool would have answered differently."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from bgproxy.admin_api import views
from bgproxy.admin_api.desk import Desk
from bgproxy.shared_memory.mirrors import Mirrored
from bgproxy.switch.decide import name_services

Json = dict[str, Any]

DIFFERENCES: Final = 50


async def get_mirror(desk: Desk, request: web.Request) -> web.Response:
    board = desk.board
    (name,) = name_services(board.config, request.query.get("service"), group=None)
    service, active = board.config.services[name], board.desired.services[name].active
    mirror = service.policy.mirror
    return views.json(
        {
            "service": name,
            "active": active,
            "idle": service.other(active),
            "share": None if mirror is None else mirror.share,
            **_shown(board.engine.mirrored(name)),
        }
    )


# Private


def _shown(mirrored: Mirrored) -> Json:
    totals = mirrored.totals
    differences: list[Json] = [orjson.loads(text) for text in mirrored.differences]
    return {
        "totals": {
            name: getattr(totals, name)
            for name in (
                "mirrored",
                "same",
                "different",
                "failed",
                "uncompared",
                "left_out",
                "bodies_left_out",
            )
        },
        "different": {
            "status": totals.status_differs,
            "headers": totals.headers_differ,
            "body": totals.body_differs,
        },
        "failed": {
            kind: getattr(totals, kind) for kind in ("connect_failed", "reset", "timed_out", "invalid")
        },
        "latency_ms": {
            "samples": len(mirrored.samples),
            "active": _quantiles(sorted(active_us for active_us, _ in mirrored.samples)),
            "idle": _quantiles(sorted(idle_us for _, idle_us in mirrored.samples)),
        },
        "differences": sorted(differences, key=lambda each: -each["time"])[:DIFFERENCES],
    }


def _quantiles(latencies_us: list[int]) -> dict[str, float | None]:
    return {name: _quantile_ms(latencies_us, share) for name, share in (("p50", 0.5), ("p95", 0.95))}


def _quantile_ms(ordered_us: list[int], share: float) -> float | None:
    if not ordered_us:
        return None
    return ordered_us[min(int(share * len(ordered_us)), len(ordered_us) - 1)] / 1000
