"""Parts: what is chosen for a request. The service, the pool, the upstream."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from benchmarks.micro.heads import BROWSER, request
from benchmarks.micro.part import Call, Part
from bgproxy.model import (
    Balance,
    Canary,
    Health,
    Policy,
    PoolView,
    ServiceView,
    Snapshot,
    Sticky,
    UpstreamView,
)
from bgproxy.routing.balance import LivePool
from bgproxy.routing.table import Table
from bgproxy.shared_memory.layout import RECORD_CELLS

PEER: Final = b"192.0.2.1"

_SALT: Final = "r1"
_COOKIE: Final = b"; bgproxy=r1.7.i\r\nCache-Control"


def pool(name: str, upstreams: int, slot: int) -> PoolView:
    """All healthy, at addresses to which nobody connects; their places are from `slot` on."""
    return PoolView(
        name,
        "v1",
        tuple(
            UpstreamView(f"{name}-{index}", f"192.0.2.2:{index + 1}", 1, Health.HEALTHY, place, place)
            for index in range(upstreams)
            for place in [slot + index]
        ),
    )


def service(
    policy: Policy = Policy(),  # noqa: B008 - frozen
    *,
    canary: Canary | None = None,
    upstreams: int = 1,
    slot: int = 10,
) -> ServiceView:
    return ServiceView(
        name="web",
        slot=1,
        tag=1,
        hosts=(),
        paths=("/",),
        active=pool("blue", upstreams, slot),
        idle=pool("green", upstreams, slot + upstreams),
        policy=policy,
        canary=canary,
    )


# Private


def _record(_slot: int, _tag: int) -> memoryview[int]:
    return memoryview(bytearray(8 * RECORD_CELLS)).cast("Q")


def _table(*services: ServiceView) -> Table:
    return Table(Snapshot(1, services), _record)


def _by_host(services: int) -> Call:
    views = (
        replace(service(), name=f"s{number}", hosts=(f"s{number}.example.com",)) for number in range(services)
    )
    return partial(_table(*views).find, b"s%d.example.com:8080" % (services // 2), b"/index.html")


def _by_path(services: int) -> Call:
    views = (replace(service(), name=f"s{number}", paths=(f"/api/s{number}",)) for number in range(services))
    return partial(_table(*views).find, b"app.example.com", b"/api/s%d/orders/17?page=2" % (services // 2))


def _split(policy: Policy = Policy(), canary: Canary | None = None, *, held: bool = False) -> Call:  # noqa: B008 - frozen
    live = _table(service(policy, canary=canary)).services["web"]
    head = request(BROWSER.replace(b"\r\nCache-Control", _COOKIE) if held else BROWSER)
    return partial(live.split, head)


def _canary(*, held: bool = False, sticky: bool = False) -> Call:
    policy = Policy(sticky=Sticky(cookie="bgproxy")) if sticky else Policy()
    return _split(policy, Canary(weight=10, salt=_SALT), held=held)


def _busy(upstreams: int, balance: Balance) -> LivePool:
    """Everybody has a request and a known latency, so that there is something to compare."""
    live = _table(service(Policy(balance=balance), upstreams=upstreams)).services["web"].active
    for number, upstream in enumerate(live.upstreams):
        upstream.in_flight = 1
        upstream.latency_us = 1000.0 + number
    return live


def _balance(upstreams: int, balance: Balance) -> Call:
    return _busy(upstreams, balance).choose


def _hash(upstreams: int) -> Call:
    live = _busy(upstreams, Balance.HASH)
    key = live.hash_key
    assert key is not None  # noqa: S101 - as balanced
    head = request(BROWSER)
    return lambda: live.choose_by(key(head, PEER))


PARTS: Final = (
    Part("route by host, 1 service", lambda: _by_host(1)),
    Part("route by host, 200 services", lambda: _by_host(200)),
    Part("route by path, 1 service", lambda: _by_path(1)),
    Part("route by path, 200 services", lambda: _by_path(200)),
    Part("split, no canary", _split),
    Part("split, canary", _canary),
    Part("split, sticky canary, known client", lambda: _canary(sticky=True, held=True)),
    Part("split, sticky canary, new client", lambda: _canary(sticky=True)),
    Part("round_robin, 1000 upstreams", lambda: _balance(1000, Balance.ROUND_ROBIN)),
    Part("least_conn, 2 upstreams", lambda: _balance(2, Balance.LEAST_CONN)),
    Part("least_conn, 1000 upstreams", lambda: _balance(1000, Balance.LEAST_CONN)),
    Part("p2c, 1000 upstreams", lambda: _balance(1000, Balance.P2C)),
    Part("hash, 1000 upstreams", lambda: _hash(1000)),
)
