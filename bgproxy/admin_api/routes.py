"""Every call of the admin API in one table, from which both the server and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from bgproxy.admin_api import bodies, changes, mirror, stream, views
from bgproxy.admin_api.desk import Desk
from bgproxy.model import Role
from bgproxy.switch.calls import Call

EVENT_STREAM: Final = "text/event-stream"

View = Callable[[Desk, web.Request], Awaitable[web.StreamResponse]]
Change = Callable[[Desk, Call, Any, dict[str, str]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class ViewRoute:
    """`answer` is a model, or the media type of what is no JSON; `also` is another status that it comes with.

    `role` None: open to everybody.
    """

    path: str
    summary: str
    handler: View
    answer: type[BaseModel] | str
    role: Role | None = Role.VIEWER
    query: tuple[str, ...] = ()
    also: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeRoute:
    method: str
    path: str
    summary: str
    handler: Change
    body: type[bodies.Change]
    answer: type[BaseModel]
    role: Role = Role.OPERATOR
    success: int = 200
    query: tuple[str, ...] = ()


CHANGES = (
    ChangeRoute(
        "POST",
        "/admin/switch",
        "All traffic to another pool",
        changes.switch,
        bodies.SwitchRequest,
        bodies.Switched,
    ),
    ChangeRoute(
        "POST",
        "/admin/rollback",
        "All traffic back to the pool before",
        changes.rollback,
        bodies.RollbackRequest,
        bodies.Switched,
    ),
    ChangeRoute(
        "PUT",
        "/admin/canary",
        "A share of the traffic to the idle pool",
        changes.set_canary,
        bodies.CanaryRequest,
        bodies.Changed,
    ),
    ChangeRoute(
        "DELETE",
        "/admin/canary",
        "All traffic to the active pool again",
        changes.end_canary,
        bodies.ServiceChange,
        bodies.Changed,
        query=("service",),
    ),
    ChangeRoute(
        "POST",
        "/admin/hold",
        "Park new requests for a bounded time",
        changes.hold,
        bodies.HoldRequest,
        bodies.Changed,
    ),
    ChangeRoute(
        "POST",
        "/admin/release-hold",
        "Let parked requests go on",
        changes.release_hold,
        bodies.GroupChange,
        bodies.Changed,
    ),
    ChangeRoute(
        "PUT",
        "/admin/maintenance",
        "503 with Retry-After for every request but previews",
        changes.begin_maintenance,
        bodies.MaintenanceRequest,
        bodies.Changed,
    ),
    ChangeRoute(
        "DELETE",
        "/admin/maintenance",
        "Requests are served again",
        changes.end_maintenance,
        bodies.GroupChange,
        bodies.Changed,
        query=("service", "group"),
    ),
    ChangeRoute(
        "PUT",
        "/admin/services/{service}/pools/{pool}",
        "Other upstreams and version for the idle pool",
        changes.set_pool,
        bodies.PoolRequest,
        bodies.Changed,
    ),
    ChangeRoute(
        "POST",
        "/admin/services/{service}/drain",
        "End the idle pool's upgraded connections now",
        changes.drain,
        bodies.DrainRequest,
        bodies.Changed,
    ),
    ChangeRoute(
        "POST",
        "/admin/reload",
        "Apply the configuration file",
        changes.reload,
        bodies.Change,
        bodies.Reloaded,
        role=Role.ADMIN,
    ),
    ChangeRoute(
        "POST",
        "/admin/upgrade",
        "Replace the running program by the one on disk",
        changes.upgrade,
        bodies.Change,
        bodies.Upgrading,
        role=Role.ADMIN,
        success=202,
    ),
)

VIEWS = (
    ViewRoute("/admin/status", "Everything that is", views.get_status, bodies.Status),
    ViewRoute("/admin/services", "Every service", views.get_services, bodies.Services),
    ViewRoute("/admin/services/{service}", "One service", views.get_service, bodies.ServiceStatus),
    ViewRoute(
        "/admin/history",
        "Everything that moved traffic, newest first",
        views.get_history,
        bodies.History,
        query=("limit", "before", "service"),
    ),
    ViewRoute(
        "/admin/events",
        "What happens, as it happens",
        stream.get_events,
        EVENT_STREAM,
        query=("after", "follow"),
    ),
    ViewRoute(
        "/admin/mirror",
        "What the idle pool would have answered differently",
        mirror.get_mirror,
        bodies.MirrorStatus,
        query=("service",),
    ),
    ViewRoute("/metrics", "Prometheus series", views.get_metrics, "text/plain"),
    ViewRoute("/healthz", "The controller lives", views.get_healthz, bodies.Liveness, role=None),
    ViewRoute(
        "/readyz",
        "Every worker serves the current snapshot",
        views.get_readyz,
        bodies.Readiness,
        role=None,
        also=503,
    ),
)
