"""Small snapshots and requests for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bgproxy.http1.head import RequestHead, parse_request
from bgproxy.model import (
    Balance,
    Canary,
    Health,
    Policy,
    PoolView,
    ServiceView,
    Snapshot,
    UpstreamView,
)
from bgproxy.routing.balance import LivePool, LiveUpstream
from bgproxy.routing.split import LiveService
from bgproxy.routing.table import Table
from bgproxy.shared_memory.layout import RECORD_CELLS
from tests.support.views import changed, service_view


def record(slot: int = 0, tag: int = 0) -> memoryview[int]:
    return memoryview(bytearray(8 * RECORD_CELLS)).cast("Q")


def live(view: UpstreamView) -> LiveUpstream:
    return LiveUpstream(view, record())


def pool(name: str, *weights: int, health: Health = Health.HEALTHY, first_tag: int = 1) -> PoolView:
    upstreams = (
        UpstreamView(f"{name}-{index}", f"10.0.0.{tag}:80", weight, health, slot=tag, tag=tag)
        for index, weight in enumerate(weights)
        for tag in [first_tag + index]
    )
    return PoolView(name, "v1", tuple(upstreams))


def service(name: str = "web", **fields: Any) -> ServiceView:
    view = service_view(
        name=name,
        slot=1,
        tag=1,
        hosts=(),
        paths=("/",),
        active=pool("blue", 1, first_tag=10),
        idle=pool("green", 1, first_tag=20),
    )
    return changed(view, **fields)


def live_service(before: LiveService | None = None, **fields: Any) -> LiveService:
    return LiveService(service(**fields), record(), live, before)


def canary(weight: int, salt: str = "r1") -> Canary:
    return Canary(weight=weight, salt=salt)


def table(*services: ServiceView, generation: int = 1, before: Table | None = None) -> Table:
    return Table(Snapshot(generation, services), record, before)


def live_pool(
    view: PoolView, balance: Balance = Balance.ROUND_ROBIN, before: LivePool | None = None, **policy: Any
) -> LivePool:
    """The pool of a first snapshot, or that of the one after `before`: with the same upstreams, by their tags."""
    known = {} if before is None else {upstream.tag: upstream for upstream in before.upstreams}

    def found(entry: UpstreamView) -> LiveUpstream:
        upstream = known.get(entry.tag)
        if upstream is None:
            return live(entry)
        upstream.see(entry)
        return upstream

    more = {name: policy.pop(name) for name in ("share", "restless", "on_ejection") if name in policy}
    return LivePool(view, Policy(balance=balance, **policy), found, before=before, **more)


def with_health(view: PoolView, health: Health, *indexes: int) -> PoolView:
    upstreams = list(view.upstreams)
    for index in indexes:
        upstreams[index] = replace(upstreams[index], health=health)
    return replace(view, upstreams=tuple(upstreams))


def request(*lines: str, target: str = "/") -> RequestHead:
    head = parse_request("\r\n".join((f"GET {target} HTTP/1.1", "Host: a", *lines, "", "")).encode())
    assert head is not None
    return head
