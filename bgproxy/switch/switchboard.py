"""The switchboard: the one place where the desired state changes.

Every change goes the same way: claim the services, decide, commit (written and synced), publish, answer.
Exactly one of several changes to a service wins; the others learn the present generation. A crash between
commit and publish leaves a state that the next controller publishes, so an acknowledged change is never
lost, and no change is ever half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

import orjson

from bgproxy.engines.base import Engine
from bgproxy.errors import Conflict
from bgproxy.model import Config, Desired, Maintenance, Match, Upstream
from bgproxy.observability.events import EventLog
from bgproxy.state.base import ConfigText, HistoryEntry, StateStore, StoredResponse
from bgproxy.switch import answers, compose, decide, holds, newcomers, proof, reconfiguration
from bgproxy.switch.answers import Answer
from bgproxy.switch.calls import Call, HoldLimits
from bgproxy.switch.changes import change
from bgproxy.switch.cutover import cut_over
from bgproxy.switch.decide import Move
from bgproxy.switch.drains import Drains
from bgproxy.switch.holds import Holds
from bgproxy.switch.roster import Roster


class Switchboard:
    """Owns the desired state. `start` puts it into force; every other method is one operator's call."""

    def __init__(
        self,
        config: Config,
        desired: Desired,
        store: StateStore,
        engine: Engine,
        roster: Roster,
        events: EventLog,
    ) -> None:
        self.config = config
        self.desired = desired
        self.store = store
        self.engine = engine
        self.roster = roster
        self.events = events
        self.holds = Holds(events, self.publish)
        self.drains = Drains(engine, events)
        self._commits = asyncio.Lock()
        self._claimed: set[str] = set()
        self._publish_soon: asyncio.Handle | None = None
        self._started = False
        roster.on_change = self.publish_soon

    # Publishing

    def start(self) -> None:
        """Puts the desired state into force; from now on health changes do so too."""
        self._started = True
        self.drains.resume(self.desired)
        self.publish()

    def publish(self) -> None:
        """Tells the engine what should be now. In force when this returns."""
        if not self._started:
            return
        if self._publish_soon is not None:
            self._publish_soon.cancel()
            self._publish_soon = None
        self.engine.apply(
            compose.compose(
                self.config,
                self.desired,
                self.roster.members,
                self.roster.health,
                self.holds.present(),
                self.drains.is_draining,
            )
        )

    def publish_soon(self) -> None:
        """Once for all the health changes of one turn of the loop."""
        if self._publish_soon is None and self._started:
            self._publish_soon = asyncio.get_running_loop().call_soon(self._publish_now)

    # Switch and rollback

    async def switch(
        self,
        call: Call,
        names: Sequence[str],
        *,
        to: str | None = None,
        force: bool = False,
        hold: HoldLimits | None = None,
    ) -> Answer:
        """All traffic of the services to another pool, in one publication."""
        planned = decide.moves(self.config, self.desired, names, to)
        return await cut_over(self, call, "switch", planned, force=force, hold=hold)

    async def rollback(
        self, call: Call, names: Sequence[str], *, force: bool = False, hold: HoldLimits | None = None
    ) -> Answer:
        """Back to the pools that were active before."""
        planned = decide.moves_back(self.desired, names)
        return await cut_over(self, call, "rollback", planned, force=force, hold=hold)

    # Canary

    async def set_canary(
        self, call: Call, name: str, weight: int, match: tuple[Match, ...], *, force: bool = False
    ) -> Answer:
        """A share of the traffic, and all that matches, to the idle pool."""
        state = self.desired.services[name]
        idle = self.config.services[name].other(state.active)
        planned = [Move(name, state.active, idle)]
        with self.claim(call, [name]):
            needs_proof = not force and bool(weight or match)
            if needs_proof and not call.dry_run:
                await proof.require(self, call, "canary", planned)
            refusal = proof.refusal(self, "canary", planned) if needs_proof else None
            text = f"canary of {name}: {weight} % to {idle}" + (
                f", and {len(match)} matches" if match else ""
            )
            return await change(
                self,
                call,
                "canary",
                [name],
                lambda desired: decide.with_canary(desired, name, weight, match),
                lambda desired: {"canary": answers.canary_json(desired.services[name].canary)},
                lambda _: text,
                to_pool=idle,
                forced=force,
                refusal=refusal,
            )

    async def end_canary(self, call: Call, name: str) -> Answer:
        with self.claim(call, [name]):
            return await change(
                self,
                call,
                "canary",
                [name],
                lambda desired: decide.without_canary(desired, name),
                lambda _: {"canary": None},
                lambda _: f"canary of {name} ended",
            )

    # Pools

    async def set_pool(
        self,
        call: Call,
        name: str,
        pool_name: str,
        version: str | None,
        upstreams: tuple[Upstream, ...],
        *,
        force: bool,
    ) -> Answer:
        """Other upstreams for a pool; they start unknown and get no traffic before a check has passed."""
        service, placed = self.config.services[name], decide.placed(upstreams)

        def decided(desired: Desired) -> Desired:
            return decide.with_pool(desired, service, pool_name, version, placed, force=force)

        with self.claim(call, [name]):
            newcomers.require_room(self, self.config, decided(self.desired))
            if pool_name == self.desired.services[name].active and not call.dry_run:
                await newcomers.introduce(self, self.config, decided(self.desired), refuse=False)
            return await change(
                self,
                call,
                "pool",
                [name],
                decided,
                lambda desired: {
                    "pool": pool_name,
                    "version": desired.services[name].pools[pool_name].version,
                },
                lambda _: f"pool {pool_name} of {name} has {len(placed)} upstreams",
                to_pool=pool_name,
                forced=force,
            )

    # Maintenance

    async def begin_maintenance(self, call: Call, names: Sequence[str], maintenance: Maintenance) -> Answer:
        """Every request gets a 503, also while nobody is healthy; a switch leaves it as it is."""

        def decided(desired: Desired) -> Desired:
            return decide.with_maintenance(self.config, desired, names, maintenance)

        with self.claim(call, names):
            return await change(
                self,
                call,
                "maintenance",
                names,
                decided,
                lambda _: {"services": [*names], "maintenance": answers.maintenance_json(maintenance)},
                lambda name: f"{name} is in maintenance: retry after {maintenance.retry_after_s} s",
            )

    async def end_maintenance(self, call: Call, names: Sequence[str]) -> Answer:
        with self.claim(call, names):
            return await change(
                self,
                call,
                "maintenance",
                names,
                lambda desired: decide.without_maintenance(desired, names),
                lambda _: {"services": [*names], "maintenance": None},
                lambda name: f"maintenance of {name} ended",
            )

    # Hold and drain

    async def hold(self, call: Call, names: Sequence[str], limits: HoldLimits) -> Answer:
        """Parks new requests until they are released, or the time or a limit is up."""
        return await holds.hold(self, call, names, limits)

    async def release_hold(self, call: Call, names: Sequence[str]) -> Answer:
        """Lets parked requests go on to the pool that is active. Ends the hold of a cutover as well."""
        return await holds.release(self, call, names)

    async def drain(self, call: Call, name: str, pool: str | None = None) -> Answer:
        """Ends what the idle pool still carries of upgraded connections now, not at the deadline."""
        service = self.config.services[name]
        pool = decide.drainable(self.desired, service, pool)
        now = time.time()
        with self.claim(call, [name]):
            return await change(
                self,
                call,
                "drain",
                [name],
                lambda desired: decide.drained_now(desired, name, now),
                lambda _: {"pool": pool},
                lambda _: f"pool {pool} of {name} drains at once",
                from_pool=pool,
            )

    # Configuration

    async def reconfigure(
        self,
        call: Call,
        config: Config,
        text: ConfigText,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> list[str]:
        """Applies another configuration; returns what changed, in words. Active pools stay.

        `prepare` is what has to be done before the commit, but not if the configuration is refused.

        New upstreams of an active pool are proven before they carry traffic: refused with `NotHealthy` if
        nobody of a pool that serves now would be healthy afterwards.
        """
        return await reconfiguration.reconfigure(self, call, config, text, prepare)

    # What a change is made of

    async def commit(
        self,
        call: Call,
        decided: Callable[[Desired], Desired],
        entry: HistoryEntry,
        described: Callable[[Desired], Answer],
        held: tuple[int, ...] = (),
    ) -> tuple[Answer, float]:
        """Puts what `decided` makes of the newest state into force; the answer, and the seconds of the write."""
        async with self._commits:
            self.require_generation(call)
            after = decided(self.desired)
            answer = {"generation": after.generation, **described(after)}
            stored = None if call.key is None else StoredResponse(*call.key, 200, orjson.dumps(answer))
            return answer, await self._write(after, entry, stored, held=held)

    async def commit_config(self, config: Config, text: ConfigText, entry: HistoryEntry) -> int:
        """Puts another configuration into force, with what it makes of the newest state; its generation."""
        async with self._commits:
            after = compose.reconcile(self.desired, config, self.config)
            generation = self.desired.generation + 1
            await self._write(replace(after, generation=generation), entry, config=(config, text))
        return generation

    async def _write(
        self,
        after: Desired,
        entry: HistoryEntry,
        stored: StoredResponse | None = None,
        *,
        config: tuple[Config, ConfigText] | None = None,
        held: tuple[int, ...] = (),
    ) -> float:
        """Commits, then publishes; the seconds of the commit.

        A caller that goes away waits for both, so that neither is without the other.
        """
        started = time.monotonic()
        write = asyncio.ensure_future(
            self.store.commit(
                after,
                entry,
                expected_generation=self.desired.generation,
                idempotency=stored,
                config=config and config[1],
            )
        )
        gone: asyncio.CancelledError | None = None
        while not write.done():
            try:
                await asyncio.wait((write,))
            except asyncio.CancelledError as cancelled:
                gone = cancelled
        write.result()
        written_s = time.monotonic() - started
        before, self.desired = self.desired, after
        self.config = config[0] if config else self.config
        self.holds.forget(held)
        self.drains.follow(before, after)
        self.roster.follow(self.config, after)
        self.publish()
        if gone is not None:
            raise gone
        return written_s

    @contextlib.contextmanager
    def claim(self, call: Call, names: Sequence[str]) -> Iterator[None]:
        """The right to change these services; `Conflict` for everybody else meanwhile."""
        self.require_generation(call)
        busy = self._claimed.intersection(names)
        if busy:
            raise Conflict(
                f"another change of {', '.join(sorted(busy))} is under way: look at its result and decide again",
                generation=self.desired.generation,
            )
        self._claimed.update(names)
        try:
            yield
        finally:
            self._claimed.difference_update(names)

    def require_generation(self, call: Call) -> None:
        generation = self.desired.generation
        if call.if_generation is not None and call.if_generation != generation:
            raise Conflict(
                f"the state is at generation {generation}, not {call.if_generation}: look at it and decide again",
                generation=generation,
            )

    def entry(
        self,
        call: Call,
        action: str,
        names: Sequence[str],
        outcome: str,
        *,
        detail: str = "",
        planned: Sequence[Move] = (),
        duration_ms: float = 0.0,
        forced: bool = False,
    ) -> HistoryEntry:
        generation = self.desired.generation
        return HistoryEntry(
            time=time.time(),
            generation_from=generation,
            generation_to=generation,
            action=action,
            services=tuple(names),
            actor=call.actor,
            reason=call.reason,
            from_pool=planned[0].source if planned else None,
            to_pool=planned[0].target if planned else None,
            outcome=outcome,
            duration_ms=duration_ms,
            forced=forced,
            detail=detail,
        )

    def _publish_now(self) -> None:
        self._publish_soon = None
        self.publish()
