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
from typing import Final

import orjson

from bgproxy.engines.base import Engine
from bgproxy.errors import Conflict, NotHealthy
from bgproxy.model import Config, Desired, Health, Match, Upstream
from bgproxy.observability.events import EventLog
from bgproxy.state.base import ConfigText, HistoryEntry, StateStore, StoredResponse
from bgproxy.switch import answers, compose, decide
from bgproxy.switch.answers import Answer
from bgproxy.switch.calls import Call, HoldLimits
from bgproxy.switch.cutover import cut_over
from bgproxy.switch.decide import Move
from bgproxy.switch.drains import Drains
from bgproxy.switch.holds import Holds
from bgproxy.switch.roster import Roster

# How long those who come into an active pool have to prove themselves, before the change is refused.
INTRODUCTION_S: Final = 5.0


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
                await self.require_proof(call, "canary", planned)
            refusal = self.refusal("canary", planned) if needs_proof else None
            text = f"canary of {name}: {weight} % to {idle}" + (
                f", and {len(match)} matches" if match else ""
            )
            return await self._change(
                call,
                "canary",
                name,
                lambda desired: decide.with_canary(desired, name, weight, match),
                lambda desired: {"canary": answers.canary_json(desired.services[name].canary)},
                text,
                to_pool=idle,
                forced=force,
                refusal=refusal,
            )

    async def end_canary(self, call: Call, name: str) -> Answer:
        with self.claim(call, [name]):
            return await self._change(
                call,
                "canary",
                name,
                lambda desired: decide.without_canary(desired, name),
                lambda _: {"canary": None},
                f"canary of {name} ended",
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
            self._require_room(self.config, decided(self.desired))
            if pool_name == self.desired.services[name].active and not call.dry_run:
                await self._introduce(self.config, decided(self.desired), refuse=False)
            return await self._change(
                call,
                "pool",
                name,
                decided,
                lambda desired: {
                    "pool": pool_name,
                    "version": desired.services[name].pools[pool_name].version,
                },
                f"pool {pool_name} of {name} has {len(placed)} upstreams",
                to_pool=pool_name,
                forced=force,
            )

    # Hold and drain

    async def hold(self, call: Call, names: Sequence[str], limits: HoldLimits) -> Answer:
        """Parks new requests until they are released, or the time or a limit is up."""
        with self.claim(call, names):
            self.holds.require_free(names)
            if call.dry_run:
                return {
                    **answers.would("hold"),
                    **answers.named(names),
                    "generation": self.desired.generation,
                }
            await self.store.record(
                self.entry(call, "hold", names, "done", detail=f"for {limits.timeout_s:g} s")
            )
            ids = self.holds.begin(names, limits)
        until = time.time() + limits.timeout_s
        asyncio.get_running_loop().call_later(limits.timeout_s, self.holds.end, ids, "its time is up")
        for name in names:
            self.events.add("hold", f"new requests of {name} are held", service=name, until=until)
        return {"hold": ids[0], **answers.named(names), "until": until, "generation": self.desired.generation}

    async def release_hold(self, call: Call, names: Sequence[str]) -> Answer:
        """Lets parked requests go on to the pool that is active. Ends the hold of a cutover as well."""
        self.require_generation(call)
        present = self.holds.present()
        ids = tuple(present[name].id for name in names if name in present)
        if not ids:
            raise Conflict(f"{', '.join(names)}: nothing is held", generation=self.desired.generation)
        answer = {
            **answers.named(names),
            "released": sum(self.engine.parked(name)[0] for name in names),
            "generation": self.desired.generation,
        }
        if call.dry_run:
            return {**answers.would("release-hold"), **answer}
        self.holds.end(ids, f"released by {call.actor}")
        await self.store.record(self.entry(call, "release-hold", names, "done"))
        return answer

    async def drain(self, call: Call, name: str, pool: str | None = None) -> Answer:
        """Ends what the idle pool still carries of upgraded connections now, not at the deadline."""
        service = self.config.services[name]
        pool = decide.drainable(self.desired, service, pool)
        now = time.time()
        with self.claim(call, [name]):
            return await self._change(
                call,
                "drain",
                name,
                lambda desired: decide.drained_now(desired, name, now),
                lambda _: {"pool": pool},
                f"pool {pool} of {name} drains at once",
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
        before = self.config
        names = [*before.services, *(name for name in config.services if name not in before.services)]
        with self.claim(call, names):
            changed = answers.describe_changes(before, config)
            if not changed:
                return []
            decide.require_active_pools(self.desired, config)
            self._require_room(config, compose.reconcile(self.desired, config, before))
            await self._introduce(config, compose.reconcile(self.desired, config, before), refuse=True)
            entry = self.entry(call, "reload", tuple(config.services), "done", detail="; ".join(changed))
            try:
                if prepare is not None:
                    await prepare()
                async with self._commits:
                    reconciled = compose.reconcile(self.desired, config, before)
                    generation = self.desired.generation + 1
                    await self._write(
                        replace(reconciled, generation=generation), entry, config=(config, text)
                    )
            except BaseException:
                self.roster.follow(self.config, self.desired)
                raise
        self.events.add("reload", f"configuration applied: {'; '.join(changed)}", generation=generation)
        return changed

    # Private: changes

    def _require_room(self, config: Config, after: Desired) -> None:
        """What cannot be published must not be committed."""
        members = self.roster.members_of(config, after)
        upstreams = [(each.service, each.pool, each.address) for each in members]
        if not self.engine.has_room([*((name,) for name in config.services), *upstreams]):
            raise Conflict(
                f"{len(upstreams)} upstreams of {len(config.services)} services are more than the workers have "
                "room to count: take fewer, or try again when requests to those that were removed have ended",
                generation=self.desired.generation,
            )

    async def _introduce(self, config: Config, after: Desired, *, refuse: bool) -> None:
        """Has those who come into an active pool checked first, so that it is never without anybody."""
        stay = [name for name, state in after.services.items() if name in self.desired.services]
        pools = [(name, after.services[name].active) for name in stay]
        serving = {
            (proof.service, proof.pool)
            for proof in self.roster.proofs(pools)
            if proof.health is Health.HEALTHY
        }
        try:
            met = await self.roster.meet(config, after, pools, INTRODUCTION_S)
            if refuse:
                decide.require_somebody(met, serving)
        except BaseException:
            self.roster.follow(self.config, self.desired)
            raise

    async def _change(
        self,
        call: Call,
        action: str,
        name: str,
        decided: Callable[[Desired], Desired],
        described: Callable[[Desired], Answer],
        text: str,
        *,
        from_pool: str | None = None,
        to_pool: str | None = None,
        forced: bool = False,
        refusal: NotHealthy | None = None,
    ) -> Answer:
        """Commits and publishes a change of one service."""
        started = time.monotonic()

        def described_whole(after: Desired) -> Answer:
            return {"service": name, **described(after)}

        if call.dry_run:
            after = decided(self.desired)
            return {
                **answers.would(action, refusal),
                "generation": after.generation,
                **described_whole(after),
            }
        entry = replace(
            self.entry(call, action, [name], "done", detail=text),
            from_pool=from_pool,
            to_pool=to_pool,
            forced=forced,
        )
        answer, _ = await self.commit(call, decided, entry, described_whole)
        self.events.add(action, text, service=name, actor=call.actor, generation=answer["generation"])
        return {**answer, "milliseconds": answers.milliseconds(time.monotonic() - started)}

    async def commit(
        self,
        call: Call,
        decided: Callable[[Desired], Desired],
        entry: HistoryEntry,
        described: Callable[[Desired], Answer],
        held: tuple[int, ...] = (),
    ) -> tuple[Answer, float]:
        """Puts what `decided` makes of the newest state into force; the answer, and the seconds of the write."""
        started = time.monotonic()
        async with self._commits:
            self.require_generation(call)
            after = decided(self.desired)
            answer = {"generation": after.generation, **described(after)}
            stored = None if call.key is None else StoredResponse(*call.key, 200, orjson.dumps(answer))
            await self._write(after, entry, stored, held=held)
        return answer, time.monotonic() - started

    async def _write(
        self,
        after: Desired,
        entry: HistoryEntry,
        stored: StoredResponse | None = None,
        *,
        config: tuple[Config, ConfigText] | None = None,
        held: tuple[int, ...] = (),
    ) -> None:
        """Commits, then publishes. A caller that goes away waits for both, so that neither is without the other."""
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
        before, self.desired = self.desired, after
        self.config = config[0] if config else self.config
        self.holds.forget(held)
        self.drains.follow(before, after)
        self.roster.follow(self.config, after)
        self.publish()
        if gone is not None:
            raise gone

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

    def refusal(self, action: str, planned: Sequence[Move]) -> NotHealthy | None:
        """Why the targets may not have traffic; None if they may."""
        targets = [(move.service, move.target) for move in planned]
        try:
            decide.require_proof(self.roster.proofs(targets), targets, rollback=action == "rollback")
        except NotHealthy as refusal:
            refusal.extra["generation"] = self.desired.generation
            return refusal
        return None

    async def require_proof(self, call: Call, action: str, planned: Sequence[Move]) -> None:
        refusal = self.refusal(action, planned)
        if refusal is None:
            return
        names = [move.service for move in planned]
        entry = self.entry(call, action, names, "refused", detail=refusal.detail, planned=planned)
        await self.store.record(entry)
        self.events.add(
            action,
            f"{action} of {', '.join(names)} refused: {refusal.detail}",
            service=names[0] if len(names) == 1 else None,
            outcome="refused",
        )
        raise refusal

    def entry(
        self,
        call: Call,
        action: str,
        names: Sequence[str],
        outcome: str,
        *,
        detail: str = "",
        planned: Sequence[Move] = (),
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
            detail=detail,
        )

    def _publish_now(self) -> None:
        self._publish_soon = None
        self.publish()
