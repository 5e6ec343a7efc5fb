"""From what was configured and asked for to what the engine is told. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bgproxy.model import (
    Config,
    Desired,
    Health,
    Hold,
    Pool,
    PoolView,
    Service,
    ServiceState,
    ServiceView,
    Snapshot,
    Upstream,
    UpstreamView,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One address of a pool, as it can be connected to. A name with several addresses has several."""

    service: str
    pool: str
    name: str  # as configured
    address: str
    weight: int


def pool_of(service: Service, state: ServiceState, name: str) -> Pool:
    """A pool as it is now: set through the API, or else as configured."""
    return state.pools.get(name) or service.pools[name]


def members(
    config: Config, desired: Desired, addresses: Callable[[str], tuple[str, ...]]
) -> Iterator[Member]:
    """Every address of every pool. A name that does not resolve yet has none."""
    for service in config.services.values():
        state = desired.services[service.name]
        for pool in service.pools:
            for upstream in pool_of(service, state, pool).upstreams:
                for address in addresses(upstream.address):
                    yield Member(service.name, pool, upstream.address, address, upstream.weight)


def compose(
    config: Config,
    desired: Desired,
    present: Iterable[Member],
    health: Callable[[Member], Health],
    holds: Mapping[str, Hold],
    draining: Callable[[str], bool],
) -> Snapshot:
    """The snapshot for the present moment."""
    by_pool: dict[tuple[str, str], list[UpstreamView]] = {}
    for member in present:
        view = UpstreamView(member.name, member.address, member.weight, health(member), slot=0, tag=0)
        by_pool.setdefault((member.service, member.pool), []).append(view)

    def view_of(service: Service, state: ServiceState) -> ServiceView:
        def pool_view(name: str) -> PoolView:
            version = pool_of(service, state, name).version
            return PoolView(name, version, tuple(by_pool.get((service.name, name), ())))

        return ServiceView(
            name=service.name,
            slot=0,
            tag=0,
            hosts=service.hosts,
            paths=service.paths,
            active=pool_view(state.active),
            idle=pool_view(service.other(state.active)),
            policy=service.policy,
            protocol=service.protocol,
            canary=state.canary,
            maintenance=state.maintenance,
            hold=holds.get(service.name),
            drain_until=state.drain_until if draining(service.name) else None,
        )

    services = tuple(view_of(service, desired.services[service.name]) for service in config.services.values())
    return Snapshot(desired.generation, services)


def first(config: Config) -> Desired:
    """The state before anybody asked for anything. Its generation, 0, is never published."""
    return Desired(0, {name: ServiceState(service.active) for name, service in config.services.items()})


def recovered(config: Config, before: Snapshot) -> Desired:
    """What the snapshot in force still says of a state that nobody has written down."""
    services: dict[str, ServiceState] = {}
    for view in before.services:
        service = config.services.get(view.name)
        if service is None or {view.active.name, view.idle.name} != set(service.pools):
            continue
        pools = {}
        for pool in (view.active, view.idle):
            # A name with several addresses stands there several times.
            upstreams = tuple(dict.fromkeys(Upstream(each.name, each.weight) for each in pool.upstreams))
            if Pool(pool.version, upstreams) != service.pools[pool.name]:
                pools[pool.name] = Pool(pool.version, upstreams)
        services[view.name] = ServiceState(
            active=view.active.name,
            previous=view.idle.name,
            canary=view.canary,
            pools=pools,
            drain_until=view.drain_until,
            generation=before.generation,
            maintenance=view.maintenance,
        )
    return reconcile(Desired(before.generation, services), config, config)


def reconcile(desired: Desired, config: Config, before: Config | None) -> Desired:
    """The state under another configuration, in the same generation; equal to `desired` if nothing changes.

    A service that stays keeps its active pool, also under another name. A pool that was set through the API
    keeps what was set, until the configuration has other upstreams for it: then the newer word counts.
    """
    services: dict[str, ServiceState] = {}
    renamed = _renamed(before, config)
    for name, service in config.services.items():
        state = desired.services.get(name) or desired.services.get(renamed.get(name, ""))
        if state is None or state.active not in service.pools:
            services[name] = ServiceState(service.active)
            continue
        known = before.services.get(renamed.get(name, name)) if before is not None else None
        kept = {
            pool: value
            for pool, value in state.pools.items()
            if pool in service.pools and (known is None or _has_same_upstreams(known, service, pool))
        }
        previous = state.previous if state.previous in service.pools else None
        services[name] = replace(state, pools=kept, previous=previous)
    return Desired(desired.generation, services)


# Private


def _renamed(before: Config | None, after: Config) -> dict[str, str]:
    """New names of services and the old ones: for the same hosts and paths, with pools of the same names."""
    if before is None:
        return {}
    gone = {
        (service.hosts, service.paths, frozenset(service.pools)): name
        for name, service in before.services.items()
        if name not in after.services
    }
    found: dict[str, str] = {}
    for name, service in after.services.items():
        old = gone.get((service.hosts, service.paths, frozenset(service.pools)))
        if name not in before.services and old is not None:
            found[name] = old
    return found


def _has_same_upstreams(before: Service, after: Service, pool: str) -> bool:
    known = before.pools.get(pool)
    return known is not None and known.upstreams == after.pools[pool].upstreams
