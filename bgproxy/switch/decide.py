"""What is allowed, and what it makes of the desired state. Pure: the caller commits and publishes.

Two rules carry the promise. A switch needs every upstream of its target proven healthy, because from the
next request on they carry everything. A rollback needs one: it is the way out of a fire.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from bgproxy.config.address import parse_address
from bgproxy.errors import Conflict, Invalid, NobodyHealthy, NotFound, NotHealthy, one_of
from bgproxy.model import (
    Canary,
    Config,
    Desired,
    Health,
    Maintenance,
    Match,
    Pool,
    Protocol,
    Service,
    ServiceState,
    Upstream,
)
from bgproxy.switch.compose import pool_of


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one upstream of a target pool."""

    service: str
    pool: str
    upstream: str
    health: Health
    reason: str


@dataclass(frozen=True, slots=True)
class Move:
    """One service's part of a switch."""

    service: str
    source: str
    target: str


def name_services(config: Config, service: str | None, group: str | None) -> tuple[str, ...]:
    """Whom a call is about: the one named, the group's, or the only one that there is."""
    if service is not None and group is not None:
        raise Invalid("give a service or a group, not both")
    if group is not None:
        if group not in config.groups:
            raise NotFound(f"there is no group {group!r}: {one_of('group', config.groups)}")
        return config.groups[group]
    if service is not None:
        if service not in config.services:
            raise NotFound(f"there is no service {service!r}: {one_of('service', config.services)}")
        return (service,)
    if len(config.services) == 1:
        return tuple(config.services)
    raise Invalid(f"say which service: {one_of('service', config.services)}")


def moves(config: Config, desired: Desired, names: Sequence[str], to: str | None) -> list[Move]:
    """Where a switch would take each service: to `to`, or to its idle pool.

    The services of a group go the same way: without `to` they have to stand on the same side, and with it
    those that are there already stay.
    """
    sides = {list(config.services[name].pools).index(desired.services[name].active) for name in names}
    if to is None and len(sides) > 1:
        where = ", ".join(f"{name} on {desired.services[name].active}" for name in names)
        raise Conflict(
            f"the services stand on different sides ({where}): say where `to`, or switch them one by one",
            generation=desired.generation,
        )
    result = []
    for name in names:
        service, state = config.services[name], desired.services[name]
        target = service.other(state.active) if to is None else to
        if target not in service.pools:
            raise NotFound(f"service {name} has no pool {target!r}: {one_of('pool', service.pools)}")
        if target != state.active:
            result.append(Move(name, state.active, target))
    if not result:
        raise Conflict(
            f"{to} is already the active pool of {', '.join(names)}", generation=desired.generation
        )
    return result


def moves_back(desired: Desired, names: Sequence[str]) -> list[Move]:
    """Where a rollback would take each service: to the pool that was active before."""
    result = []
    for name in names:
        state = desired.services[name]
        previous = state.previous
        if previous is None or previous == state.active:
            raise Conflict(
                f"{name} has not been switched yet: there is nothing to roll back to",
                generation=desired.generation,
            )
        result.append(Move(name, state.active, previous))
    return result


def require_proof(proofs: Sequence[Proof], targets: Iterable[tuple[str, str]], *, rollback: bool) -> None:
    """Raises `NotHealthy`, with every reason, unless the targets (service, pool) are proven healthy."""
    failed: list[Proof] = []
    for service, pool in targets:
        mine = [proof for proof in proofs if (proof.service, proof.pool) == (service, pool)]
        healthy = [proof for proof in mine if proof.health is Health.HEALTHY]
        if not mine:
            failed.append(Proof(service, pool, "", Health.UNKNOWN, "the pool has no upstreams"))
        elif not healthy or (not rollback and len(healthy) < len(mine)):
            failed += [proof for proof in mine if proof.health is not Health.HEALTHY]
    if failed:
        reasons = "; ".join(
            f"{proof.service}/{proof.pool} {proof.upstream}: {proof.health} ({proof.reason})".replace(
                "  ", " "
            )
            for proof in failed
        )
        raise NotHealthy(
            f"{reasons}. Mend it and try again.",
            upstreams=[asdict(proof) for proof in failed],
        )


def require_somebody(proofs: Sequence[Proof], pools: Iterable[tuple[str, str]]) -> None:
    """Raises `NobodyHealthy` if one of these (service, pool), which serve now, would have nobody healthy."""
    try:
        require_proof(proofs, pools, rollback=True)
    except NotHealthy as refusal:
        raise NobodyHealthy(refusal.detail, **refusal.extra) from refusal


def switched(config: Config, desired: Desired, planned: Sequence[Move], now: float) -> Desired:
    """The state after a switch or rollback: one new generation for all services of it."""
    generation = desired.generation + 1
    services = dict(desired.services)
    for move in planned:
        service = config.services[move.service]
        services[move.service] = replace(
            services[move.service],
            active=move.target,
            previous=move.source,
            canary=None,
            drain_until=now + service.drain_timeout_s,
            generation=generation,
        )
    return Desired(generation, services)


def with_canary(desired: Desired, name: str, weight: int, match: tuple[Match, ...]) -> Desired:
    """The state with a canary. A canary that is changed stays the same release and keeps its salt."""
    state = desired.services[name]
    salt = state.canary.salt if state.canary is not None else secrets.token_hex(4)
    return _with_state(desired, name, replace(state, canary=Canary(weight, match, salt)))


def without_canary(desired: Desired, name: str) -> Desired:
    state = desired.services[name]
    if state.canary is None:
        raise Conflict(f"{name} has no canary", generation=desired.generation)
    return _with_state(desired, name, replace(state, canary=None))


def with_maintenance(
    config: Config, desired: Desired, names: Sequence[str], maintenance: Maintenance
) -> Desired:
    """The state in which these services turn everybody away; only those that speak HTTP can say so."""
    silent = [name for name in names if config.services[name].protocol is not Protocol.HTTP]
    if silent:
        raise Invalid(
            f"{', '.join(silent)}: carried over TCP, which has no answer that says so; "
            "take the upstreams out of the pool instead"
        )
    return _with_states(
        desired, {name: replace(desired.services[name], maintenance=maintenance) for name in names}
    )


def without_maintenance(desired: Desired, names: Sequence[str]) -> Desired:
    """The state after a maintenance. Those of a group that are in none stay as they are."""
    ended = {
        name: replace(desired.services[name], maintenance=None)
        for name in names
        if desired.services[name].maintenance is not None
    }
    if not ended:
        raise Conflict(f"{', '.join(names)}: not in maintenance", generation=desired.generation)
    return _with_states(desired, ended)


def placed(upstreams: Iterable[Upstream]) -> tuple[Upstream, ...]:
    """The upstreams with their addresses as they are written everywhere; `Invalid` if one is wrong."""
    try:
        result = tuple(replace(each, address=str(parse_address(each.address))) for each in upstreams)
    except ValueError as error:
        raise Invalid(str(error)) from error
    known: set[str] = set()
    for each in result:
        if each.address in known:
            raise Invalid(f"{each.address} stands twice: name every address once, with its weight")
        known.add(each.address)
    return result


def with_pool(
    desired: Desired,
    service: Service,
    name: str,
    version: str | None,
    upstreams: tuple[Upstream, ...],
    *,
    force: bool,
) -> Desired:
    """The state with other upstreams in a pool: the idle one, or with `force` any. No version: the same."""
    state = desired.services[service.name]
    if name not in service.pools:
        raise NotFound(f"service {service.name} has no pool {name!r}: {one_of('pool', service.pools)}")
    if name == state.active and not force:
        raise Conflict(
            f"{name} is the active pool of {service.name}: change the idle pool "
            f"{service.other(name)} and switch, or repeat with `force`",
            generation=desired.generation,
        )
    if name != state.active and _has_canary_traffic(state) and not force:
        raise Conflict(
            f"{name} carries the canary of {service.name}, and its new upstreams would be unproven: "
            "end the canary first, or repeat with `force`",
            generation=desired.generation,
        )
    pool = Pool(pool_of(service, state, name).version if version is None else version, upstreams)
    return _with_state(desired, service.name, replace(state, pools={**state.pools, name: pool}))


def drainable(desired: Desired, service: Service, pool: str | None) -> str:
    """The pool that a drain is about: the idle one, also if it is named."""
    active = desired.services[service.name].active
    if pool is None:
        return service.other(active)
    if pool not in service.pools:
        raise NotFound(f"service {service.name} has no pool {pool!r}: {one_of('pool', service.pools)}")
    if pool == active:
        raise Conflict(
            f"{pool} is the active pool of {service.name}: switch to {service.other(pool)} first",
            generation=desired.generation,
        )
    return pool


def drained_now(desired: Desired, name: str, now: float) -> Desired:
    """The state in which the idle pool's upgraded connections end at once."""
    return _with_state(desired, name, replace(desired.services[name], drain_until=now))


def require_active_pools(desired: Desired, config: Config) -> None:
    """Raises `Conflict` if a configuration has lost the pool that a service's traffic is in."""
    for name, state in desired.services.items():
        service = config.services.get(name)
        if service is not None and state.active not in service.pools:
            raise Conflict(
                f"{state.active} is the active pool of {name}, and the configuration does not have it any more: "
                "rename or remove idle pools only, or switch first",
                generation=desired.generation,
            )


# Private


def _with_state(desired: Desired, name: str, state: ServiceState) -> Desired:
    return _with_states(desired, {name: state})


def _with_states(desired: Desired, states: Mapping[str, ServiceState]) -> Desired:
    generation = desired.generation + 1
    changed = {name: replace(state, generation=generation) for name, state in states.items()}
    return Desired(generation, {**desired.services, **changed})


def _has_canary_traffic(state: ServiceState) -> bool:
    return state.canary is not None and bool(state.canary.weight or state.canary.match)
