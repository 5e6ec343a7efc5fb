"""Who is in the pools at present and how they are: names resolved, addresses probed.

The roster follows configuration and desired state, and says so when a member or its health has changed. It
decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from bgproxy.engines.base import Key
from bgproxy.health.prober import Prober, Target, TargetKey, TargetStatus, Transition
from bgproxy.health.resolver import Resolver
from bgproxy.health.thresholds import HealthState
from bgproxy.model import Config, Desired, Health
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

    def restore(self, known: Mapping[Key, Health], now: float) -> None:
        """Takes over the health that was in force before; what was unknown stays so."""
        self._prober.restore(
            {
                TargetKey(*key): HealthState(health, now, reason="as known before the restart")
                for key, health in known.items()
                if health is not Health.UNKNOWN
            }
        )

    def follow(self, config: Config, desired: Desired) -> None:
        """Resolves and probes what these name, from now on."""
        self._config, self._desired = config, desired
        self._resolver.set_names(
            upstream.address
            for service in config.services.values()
            for pool in service.pools
            for upstream in compose.pool_of(service, desired.services[service.name], pool).upstreams
        )
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
        proofs: list[Proof] = []
        for service_name, pool_name in pools:
            service = self._config.services[service_name]
            pool = compose.pool_of(service, self._desired.services[service_name], pool_name)
            mine = [each for each in self.members if (each.service, each.pool) == (service_name, pool_name)]
            for upstream in pool.upstreams:
                if upstream.weight == 0:
                    continue
                found = [member for member in mine if member.name == upstream.address]
                if not found:
                    reason = "its name does not resolve"
                    proofs.append(Proof(service_name, pool_name, upstream.address, Health.UNKNOWN, reason))
                for member in found:
                    state = self.status(member).state
                    proofs.append(Proof(service_name, pool_name, display(member), state.health, state.reason))
        return proofs

    async def until_known(self, pools: Sequence[tuple[str, str]], timeout_s: float) -> None:
        """Returns when everybody in these pools has been checked once, or the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._prober.check_now(
                    TargetKey(each.service, each.pool, each.address)
                    for each in self.members
                    if (each.service, each.pool) in pools
                )
        except TimeoutError:
            return

    async def close(self) -> None:
        await self._resolver.close()
        await self._prober.close()

    # Private

    def _update(self) -> None:
        assert self._desired is not None  # noqa: S101 - it has been told whom to follow
        self.members = tuple(compose.members(self._config, self._desired, self._resolver.addresses))
        self._prober.set_targets(
            Target(each.service, each.pool, each.address, self._config.services[each.service].health)
            for each in self.members
        )

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
        self._check_pool(target)
        self.on_change()

    def _check_pool(self, target: Target) -> None:
        """Says when the active pool has nobody left, because then a policy decides."""
        assert self._desired is not None  # noqa: S101 - it has been told whom to follow
        state = self._desired.services.get(target.service)
        if state is None or state.active != target.pool:
            return
        of_traffic = {
            each.address: self.health(each)
            for each in self.members
            if (each.service, each.pool) == (target.service, target.pool) and each.weight > 0
        }
        if target.address in of_traffic and set(of_traffic.values()) == {Health.UNHEALTHY}:
            policy = self._config.services[target.service].when_unhealthy
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
