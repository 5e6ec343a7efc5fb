"""What is, in one answer: for the status screen, the dashboard, and people with curl."""

from __future__ import annotations

from typing import Any

from bgproxy.engines.base import Engine, Traffic
from bgproxy.model import Health, Service, ServiceState, Upstream
from bgproxy.shared_memory.counters import LATENCY_BOUNDS_US, RESPONSE_CLASSES, Totals
from bgproxy.switch import compose
from bgproxy.switch.answers import canary_json, maintenance_json
from bgproxy.switch.compose import Member
from bgproxy.switch.drains import is_safe_to_stop
from bgproxy.switch.roster import display
from bgproxy.switch.switchboard import Switchboard

Json = dict[str, Any]
PoolKey = tuple[str, str]  # service, pool


def services_status(board: Switchboard) -> list[Json]:
    by_pool: dict[PoolKey, list[Member]] = {}
    for member in board.roster.members:
        by_pool.setdefault((member.service, member.pool), []).append(member)
    proofs = board.roster.proofs(
        (service.name, pool) for service in board.config.services.values() for pool in service.pools
    )
    sick = {(proof.service, proof.pool) for proof in proofs if proof.health is not Health.HEALTHY}
    healthy = {(proof.service, proof.pool) for proof in proofs} - sick
    return [_service(board, service, by_pool, healthy) for service in board.config.services.values()]


def workers_status(engine: Engine) -> list[Json]:
    views = engine.workers()
    newest = max((view.seen for view in views), default=0)
    return [
        {
            "pid": view.pid,
            "block": view.block,
            "state": "draining" if view.draining else "serving",
            "current": view.seen == newest,
            "connections": view.connections,
            "accepted": view.accepted,
            "parked": view.parked,
        }
        for view in views
    ]


def quantile_ms(latency: list[int], share: float) -> float | None:
    """The upper bound of the bucket in which the quantile lies, in milliseconds; None without data."""
    total = sum(latency)
    if not total:
        return None
    rank, seen = share * total, 0
    for bound, count in zip((*LATENCY_BOUNDS_US, LATENCY_BOUNDS_US[-1]), latency, strict=True):
        seen += count
        if seen >= rank:
            return bound / 1000
    return None


# Private


def _service(
    board: Switchboard, service: Service, by_pool: dict[PoolKey, list[Member]], healthy: set[PoolKey]
) -> Json:
    state = board.desired.services[service.name]
    hold = board.holds.present().get(service.name)
    idle = service.other(state.active)
    pools = {
        name: {
            **_pool(board, service, state, name, by_pool.get((service.name, name), [])),
            "healthy": (service.name, name) in healthy,
        }
        for name in (state.active, idle)
    }
    drain = None
    if board.drains.is_draining(service.name):
        drain = {
            "pool": idle,
            "until": state.drain_until,
            **{name: pools[idle][name] for name in ("in_flight", "tunnels", "safe_to_stop")},
        }
    requests, size = board.engine.parked(service.name)
    own = board.engine.totals((service.name,))
    return {
        "service": service.name,
        "active": state.active,
        "idle": idle,
        "previous": state.previous,
        "generation": state.generation,
        "canary": canary_json(state.canary),
        "maintenance": maintenance_json(state.maintenance),
        "hold": hold and {"id": hold.id, "until": hold.until, "parked": requests, "parked_bytes": size},
        "drain": drain,
        "queued": own.queued,
        "proxy_errors": own.requests,
        "pools": pools,
    }


def _pool(board: Switchboard, service: Service, state: ServiceState, name: str, mine: list[Member]) -> Json:
    totals = Totals()
    upstreams = []
    for member in mine:
        counted = board.engine.totals((service.name, name, member.address))
        totals.merge(counted)
        upstreams.append(_upstream(board, member, counted))
    traffic: Traffic = board.engine.traffic(service.name, name)
    is_idle = name != state.active
    pool = compose.pool_of(service, state, name)
    resolved = {member.name for member in mine}
    upstreams += [_unresolved(each) for each in pool.upstreams if each.address not in resolved]
    return {
        "version": pool.version,
        "role": "idle" if is_idle else "active",
        "in_flight": traffic.in_flight,
        "tunnels": traffic.tunnels,
        "idle_connections": traffic.idle,
        "requests": totals.requests,
        "responses": dict(zip(RESPONSE_CLASSES, totals.responses, strict=True)),
        "latency_ms": {"p50": quantile_ms(totals.latency, 0.5), "p99": quantile_ms(totals.latency, 0.99)},
        "safe_to_stop": is_idle
        and is_safe_to_stop(board.engine, service.name, name, in_use=state.canary is not None),
        "upstreams": upstreams,
    }


def _upstream(board: Switchboard, member: Member, counted: Totals) -> Json:
    status = board.roster.status(member)
    return {
        "upstream": display(member),
        "address": member.address,
        "weight": member.weight,
        "health": status.state.health,
        "reason": status.state.explanation,
        "since": status.state.since,
        "in_flight": counted.in_flight,
        "requests": counted.requests,
        "failures": counted.connect_failed + counted.reset + counted.timed_out + counted.invalid,
        "ejected": counted.ejected,
        "ejections": counted.ejections,
    }


def _unresolved(upstream: Upstream) -> Json:
    return {
        "upstream": upstream.address,
        "address": "",
        "weight": upstream.weight,
        "health": Health.UNKNOWN,
        "reason": "its name does not resolve",
        "since": 0.0,
        "in_flight": 0,
        "requests": 0,
        "failures": 0,
        "ejected": 0,
        "ejections": 0,
    }
