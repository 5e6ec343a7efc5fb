"""Who is in the pools at present and how they are: names resolved, addresses probed.

The roster follows configuration and desired state, and says so when a member or its health has changed. It
decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from bgproxy.health.prober import Prober, Target, TargetKey, TargetStatus, Transition
from bgproxy.health.resolver import Resolver
from bgproxy.health.thresholds import HealthState
from bgproxy.model import Config, Desired, Health, Pool, Snapshot
from bgproxy.observability.events import EventLog
from bgproxy.switch import compose
from bgproxy.switch.compose import Member
from bgproxy.switch.decide import Proof


class Roster:
    """`on_change` is set by whoever has to hear of changes."""

    def __init__(self, config: Config, events: EventLog) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.members: tuple[Member, ...] = ()
        self._events = events
        self._prober = Prober(self._on_health)
        self._resolver = Resolver(
            self._on_addresses, on_condition=self._on_condition, interval_s=config.resolve_interval_s
        )
        self._config = config
        self._desired: Desired | None = None
        self._coming: tuple[Config, Desired] | None = None  # whom to meet before they are followed
        self._closed = False

    def restore(self, before: Snapshot, now: float) -> None:
        """Takes over the health and the addresses that were in force before; what was unknown stays so."""
        known: dict[TargetKey, HealthState] = {}
        addresses: dict[str, set[str]] = {}
        for service in before.services:
            for pool in (service.active, service.idle):
                for each in pool.upstreams:
                    addresses.setdefault(each.name, set()).add(each.address)
                    if each.health is not Health.UNKNOWN:
                        state = HealthState(each.health, now, reason="as known before the restart")
                        known[TargetKey(service.name, pool.name, each.address)] = state
        self._prober.restore(known)
        self._resolver.restore(addresses)

    def follow(self, config: Config, desired: Desired) -> None:
        """Resolves and probes what these name, from now on."""
        before, self._desired = self._desired, desired
        known = before is not None and self._coming is None and config is self._config
        if before is not None and known and _pools(before) == _pools(desired):
            return  # most changes move traffic between those who are here
        self._config, self._coming = config, None
        self._update()

    def health(self, member: Member) -> Health:
        return self.status(member).state.health

    def status(self, member: Member) -> TargetStatus:
        status = self._prober.health_of(TargetKey(member.service, member.pool, member.address))
        assert status is not None  # noqa: S101 - every member is a target
        return status

    def proofs(self, pools: Iterable[tuple[str, str]]) -> list[Proof]:
        """What is known of everybody in these (service, pool) who is to get traffic."""
        assert self._desired is not None  # noqa: S101 - it has been told whom to follow
        return self._proofs(self._config, self._desired, self.members, pools)

    async def until_known(self, pools: Sequence[tuple[str, str]], timeout_s: float) -> None:
        """Returns when everybody in these pools has been looked up and checked once, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._resolver.until_resolved()
                await self._prober.check_now(
                    TargetKey(each.service, each.pool, each.address)
                    for each in self.members
                    if (each.service, each.pool) in pools
                )

    async def meet(
        self, config: Config, desired: Desired, pools: Sequence[tuple[str, str]], timeout_s: float
    ) -> list[Proof]:
        """Looks up and checks those who would be in these pools, beside those who are; says what it found.

        It ends with the next `follow`, of the new state or of the old one.
        """
        self._coming = (config, desired)
        self._update()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._resolver.until_resolved()
                self._update()
                await self._prober.check_now(
                    TargetKey(each.service, each.pool, each.address)
                    for each in self.members_of(config, desired)
                    if (each.service, each.pool) in pools and self.health(each) is Health.UNKNOWN
                )
        return self._proofs(config, desired, self.members_of(config, desired), pools)

    def members_of(self, config: Config, desired: Desired) -> tuple[Member, ...]:
        """Who would be in the pools, as far as is known by now."""
        return tuple(compose.members(config, desired, self._resolver.addresses))

    async def close(self) -> None:
        """From now on nobody is checked, so nothing is found out; a change that is broken off may still ask."""
        self._closed = True
        await self._resolver.close()
        await self._prober.close()

    # Private

    def _update(self) -> None:
        assert self._desired is not None  # noqa: S101 - it has been told whom to follow
        if self._closed:
            return
        states = [(self._config, self._desired)]
        if self._coming is not None:
            states.insert(0, self._coming)  # whoever is present already is checked as before
        self._resolver.set_names(name for state in states for name in _names(*state))
        self.members = self.members_of(self._config, self._desired)
        self._prober.set_targets(
            Target(
                each.service,
                each.pool,
                each.address,
                config.services[each.service].health,
                config.services[each.service].policy.upstream_tls,
                each.name,
            )
            for config, desired in states
            for each in self.members_of(config, desired)
        )

    def _proofs(
        self,
        config: Config,
        desired: Desired,
        members: Iterable[Member],
        pools: Iterable[tuple[str, str]],
    ) -> list[Proof]:
        proofs: list[Proof] = []
        by_pool: dict[tuple[str, str], list[Member]] = {}
        for member in members:
            by_pool.setdefault((member.service, member.pool), []).append(member)
        for service_name, pool_name in pools:
            mine = by_pool.get((service_name, pool_name), [])
            service = config.services[service_name]
            for upstream in compose.pool_of(service, desired.services[service_name], pool_name).upstreams:
                if upstream.weight == 0:
                    continue
                found = [member for member in mine if member.name == upstream.address]
                if not found:
                    reason = "its name does not resolve"
                    proofs.append(Proof(service_name, pool_name, upstream.address, Health.UNKNOWN, reason))
                for member in found:
                    state = self.status(member).state
                    proofs.append(
                        Proof(service_name, pool_name, display(member), state.health, state.explanation)
                    )
        return proofs

    def _on_addresses(self, name: str, addresses: tuple[str, ...]) -> None:
        self._events.add("resolve", f"{name} is now {', '.join(addresses) or 'nowhere'}")
        self._update()
        self.on_change()

    def _on_condition(self, host: str, reason: str | None) -> None:
        if reason is None:
            self._events.add("resolve", f"{host} resolves again")
        else:
            self._events.add("resolve", f"{host} does not resolve: {reason}; its last addresses stay")

    def _on_health(self, target: Target, transition: Transition) -> None:
        self._events.add(
            "health",
            f"{target.service}/{target.pool} {target.address} is {transition.after}: {transition.reason}",
            service=target.service,
            pool=target.pool,
            upstream=target.address,
            before=transition.before,
            after=transition.after,
        )
        if transition.after is Health.UNHEALTHY:
            self._check_pool(target)
        self.on_change()

    def _check_pool(self, target: Target) -> None:
        """Says when the active pool has nobody left, because then a policy decides."""
        assert self._desired is not None  # noqa: S101 - it has been told whom to follow
        state = self._desired.services.get(target.service)
        if state is None or state.active != target.pool:
            return
        of_traffic = [
            each
            for each in self.members
            if each.pool == target.pool and each.service == target.service and each.weight > 0
        ]
        if any(each.address == target.address for each in of_traffic) and all(
            self.health(each) is Health.UNHEALTHY for each in of_traffic
        ):
            policy = self._config.services[target.service].policy.when_unhealthy
            self._events.add(
                "all_unhealthy",
                f"no upstream of {target.service}/{target.pool} is healthy: when_unhealthy is {policy}",
                service=target.service,
                pool=target.pool,
                policy=policy,
            )


def display(member: Member) -> str:
    """The name, with the address behind it where that says more."""
    return member.name if member.name == member.address else f"{member.name} ({member.address})"


def _pools(desired: Desired) -> list[Mapping[str, Pool]]:
    return [state.pools for state in desired.services.values()]


def _names(config: Config, desired: Desired) -> list[str]:
    """Every address as configured, or as set through the API."""
    return [
        upstream.address
        for service in config.services.values()
        for pool in service.pools
        for upstream in compose.pool_of(service, desired.services[service.name], pool).upstreams
    ]
