"""The switchboard: the one place where the desired state changes.

Every change goes the same way: claim the services, decide, commit (written and synced), publish, answer.
Exactly one of several changes to a service wins; the others learn the present generation. A crash between
commit and publish leaves a state that the next controller publishes, so an acknowledged change is never
lost, and no change is ever half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from bgproxy.config.address import parse_address
from bgproxy.engines.base import Engine
from bgproxy.errors import Conflict, ControlError, HoldTimedOut, Invalid
from bgproxy.model import Canary, Config, Desired, Match, Pool, Upstream
from bgproxy.observability.events import EventLog
from bgproxy.state.base import HistoryEntry, StateStore, StoredResponse
from bgproxy.switch import compose, decide
from bgproxy.switch.calls import Call, HoldLimits
from bgproxy.switch.decide import Move
from bgproxy.switch.drains import Drains
from bgproxy.switch.holds import Holds
from bgproxy.switch.roster import Roster

logger = logging.getLogger("bgproxy.switch")

Answer = dict[str, Any]


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
        self.holds = Holds()
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
        return await self._move(call, "switch", planned, force=force, hold=hold)

    async def rollback(
        self, call: Call, names: Sequence[str], *, force: bool = False, hold: HoldLimits | None = None
    ) -> Answer:
        """Back to the pools that were active before."""
        planned = decide.moves_back(self.desired, names)
        return await self._move(call, "rollback", planned, force=force, hold=hold)

    async def _move(
        self, call: Call, action: str, planned: list[Move], *, force: bool, hold: HoldLimits | None
    ) -> Answer:
        started = time.monotonic()
        names = [move.service for move in planned]
        if call.dry_run:
            return self._dry_run(call, action, planned, force=force)
        with self._claim(call, names):
            if not force:
                await self._require_proof(call, action, planned)
            held_s = 0.0
            held: tuple[int, ...] = ()
            if hold is not None:
                held = self._hold(names, hold)
                await self._until_empty(call, action, planned, held, hold)
                held_s = time.monotonic() - started
            try:
                now = time.time()
                answer = {
                    "generation": self.desired.generation + 1,
                    **_route(planned),
                    "forced": force,
                    "held_milliseconds": _ms(held_s),
                }
                sync_s = await self._commit(
                    call,
                    lambda desired: decide.switched(self.config, desired, planned, now),
                    HistoryEntry(
                        time=now,
                        action=action,
                        services=tuple(names),
                        actor=call.actor,
                        reason=call.reason,
                        from_pool=planned[0].source,
                        to_pool=planned[0].target,
                        outcome="done",
                        duration_ms=_ms(time.monotonic() - started),
                        forced=force,
                    ),
                    answer,
                )
            finally:
                self.holds.end(held)
                for name in names:
                    self.drains.begin(self.desired, name)
                self.publish()
            total_s = time.monotonic() - started
        self._tell_of_move(call, action, planned, total_s)
        return {**answer, "milliseconds": _ms(total_s), "sync_milliseconds": _ms(sync_s)}

    # Canary

    async def set_canary(
        self, call: Call, name: str, weight: int, match: tuple[Match, ...], *, force: bool = False
    ) -> Answer:
        """A share of the traffic, and all that matches, to the idle pool."""
        state = self.desired.services[name]
        idle = self.config.services[name].other(state.active)
        with self._claim(call, [name]):
            if (weight or match) and not force and not call.dry_run:
                await self._require_proof(call, "canary", [Move(name, state.active, idle)])
            text = f"canary of {name}: {weight} % to {idle}" + (
                f", and {len(match)} matches" if match else ""
            )
            return await self._change(
                call,
                "canary",
                name,
                lambda desired: decide.with_canary(desired, name, weight, match),
                lambda desired: {"canary": canary_json(desired.services[name].canary)},
                text,
                to_pool=idle,
            )

    async def end_canary(self, call: Call, name: str) -> Answer:
        with self._claim(call, [name]):
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
        service = self.config.services[name]
        try:
            placed = tuple(replace(each, address=str(parse_address(each.address))) for each in upstreams)
        except ValueError as error:
            raise Invalid(str(error)) from error
        if len({each.address for each in placed}) < len(placed):
            raise Invalid(f"an address stands twice in pool {pool_name}")

        def decided(desired: Desired) -> Desired:
            known = (
                compose.pool_of(service, desired.services[name], pool_name).version
                if version is None
                else version
            )
            return decide.with_pool(desired, service, pool_name, Pool(known, placed), force=force)

        decide.with_pool(self.desired, service, pool_name, Pool("", placed), force=force)
        with self._claim(call, [name]):
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
        with self._claim(call, names):
            if call.dry_run:
                return {"dry_run": True, "would": "hold", "allowed": True, "services": list(names)}
            ids = self._hold(names, limits)
        until = time.time() + limits.timeout_s
        asyncio.get_running_loop().call_later(limits.timeout_s, self._end_hold, ids, "its time is up")
        await self.store.record(
            self._entry(call, "hold", names, "done", detail=f"for {limits.timeout_s:g} s")
        )
        for name in names:
            self.events.add("hold", f"new requests of {name} are held", service=name, until=until)
        return {"hold": ids[0], **_named(names), "until": until, "generation": self.desired.generation}

    async def release_hold(self, call: Call, names: Sequence[str]) -> Answer:
        """Lets parked requests go on to the pool that is active. Ends the hold of a cutover as well."""
        present = self.holds.present()
        ids = tuple(present[name].id for name in names if name in present)
        if not ids:
            raise Conflict(f"{', '.join(names)}: nothing is held", generation=self.desired.generation)
        released = self.engine.parked()[0]
        if not call.dry_run:
            self._end_hold(ids, f"released by {call.actor}")
            await self.store.record(self._entry(call, "release-hold", names, "done"))
        return {**_named(names), "released": released, "generation": self.desired.generation}

    async def drain(self, call: Call, name: str) -> Answer:
        """Ends what the idle pool still carries of upgraded connections now, not at the deadline."""
        state = self.desired.services[name]
        idle = self.config.services[name].other(state.active)
        now = time.time()
        with self._claim(call, [name]):
            answer = await self._change(
                call,
                "drain",
                name,
                lambda desired: decide.drained_now(desired, name, now),
                lambda _: {"pool": idle},
                f"pool {idle} of {name} drains at once",
                from_pool=idle,
            )
            self.drains.begin(self.desired, name)
            self.publish()
        return answer

    # Configuration

    async def reconfigure(self, call: Call, config: Config) -> list[str]:
        """Applies another configuration; returns what changed, in words. Active pools stay."""
        before = self.config
        names = [*before.services, *(name for name in config.services if name not in before.services)]
        with self._claim(call, names):
            changed = describe_changes(before, config)
            reconciled = compose.reconcile(self.desired, config, before)
            if not changed:
                return []
            generation = self.desired.generation + 1
            entry = self._entry(call, "reload", tuple(config.services), "done", detail="; ".join(changed))
            await self._write(replace(reconciled, generation=generation), entry, None)
            self.config = config
            self.roster.follow(config, self.desired)
            self.publish()
        self.events.add("reload", f"configuration applied: {'; '.join(changed)}", generation=generation)
        return changed

    # Private: changes

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
    ) -> Answer:
        """Commits and publishes a change of one service."""
        started = time.monotonic()
        after = decided(self.desired)
        answer = {"generation": after.generation, "service": name, **described(after)}
        if call.dry_run:
            return {"dry_run": True, "would": action, "allowed": True, **answer}
        entry = HistoryEntry(
            time=time.time(),
            action=action,
            services=(name,),
            actor=call.actor,
            reason=call.reason,
            from_pool=from_pool,
            to_pool=to_pool,
            outcome="done",
            forced=forced,
            detail=text,
        )
        await self._commit(call, decided, entry, answer)
        self.roster.follow(self.config, self.desired)
        self.publish()
        self.events.add(action, text, service=name, actor=call.actor, generation=after.generation)
        return {**answer, "milliseconds": _ms(time.monotonic() - started)}

    async def _commit(
        self, call: Call, decided: Callable[[Desired], Desired], entry: HistoryEntry, answer: Answer
    ) -> float:
        """Writes what `decided` makes of the newest state; returns the seconds that it took."""
        started = time.monotonic()
        async with self._commits:
            after = decided(self.desired)
            answer["generation"] = after.generation
            stored = None
            if call.key is not None:
                stored = StoredResponse(*call.key, 200, orjson.dumps(answer))
            await self._write(after, entry, stored)
        return time.monotonic() - started

    async def _write(self, after: Desired, entry: HistoryEntry, stored: StoredResponse | None) -> None:
        # A caller that goes away must not leave a state that is committed and not in force.
        write = self.store.commit(
            after, entry, expected_generation=self.desired.generation, idempotency=stored
        )
        await asyncio.shield(asyncio.ensure_future(write))
        self.desired = after

    @contextlib.contextmanager
    def _claim(self, call: Call, names: Sequence[str]) -> Iterator[None]:
        """The right to change these services; `Conflict` for everybody else meanwhile."""
        generation = self.desired.generation
        if call.if_generation is not None and call.if_generation != generation:
            raise Conflict(
                f"the state is at generation {generation}, not {call.if_generation}: look at it and decide again",
                generation=generation,
            )
        busy = self._claimed.intersection(names)
        if busy:
            raise Conflict(
                f"another change of {', '.join(sorted(busy))} is under way: look at its result and decide again",
                generation=generation,
            )
        self._claimed.update(names)
        try:
            yield
        finally:
            self._claimed.difference_update(names)

    async def _require_proof(self, call: Call, action: str, planned: Sequence[Move]) -> None:
        targets = [(move.service, move.target) for move in planned]
        try:
            decide.require_proof(self.roster.proofs(targets), targets, rollback=action == "rollback")
        except ControlError as refusal:
            names = [move.service for move in planned]
            entry = self._entry(call, action, names, "refused", detail=refusal.detail)
            await self.store.record(replace(entry, from_pool=planned[0].source, to_pool=planned[0].target))
            self.events.add(
                action, f"{action} of {', '.join(names)} refused: {refusal.detail}", outcome="refused"
            )
            refusal.extra["generation"] = self.desired.generation
            raise

    def _dry_run(self, call: Call, action: str, planned: Sequence[Move], *, force: bool) -> Answer:
        """What would happen: is it allowed, what would have to drain, how many would notice."""
        targets = [(move.service, move.target) for move in planned]
        proofs = self.roster.proofs(targets)
        refusal: str | None = None
        try:
            with self._claim(call, [move.service for move in planned]):
                if not force:
                    decide.require_proof(proofs, targets, rollback=action == "rollback")
        except ControlError as error:
            refusal = error.detail
        services: list[Answer] = []
        for move in planned:
            traffic = self.engine.traffic(move.service, move.source)
            canary = self.desired.services[move.service].canary
            services.append(
                {
                    "service": move.service,
                    "from": move.source,
                    "to": move.target,
                    "in_flight": traffic.in_flight,
                    "tunnels": traffic.tunnels,
                    "share_of_users_moving": 1.0 - (canary.weight / 100 if canary else 0.0),
                    "upstreams": [
                        {"upstream": proof.upstream, "health": proof.health, "reason": proof.reason}
                        for proof in proofs
                        if proof.service == move.service
                    ],
                }
            )
        return {
            "dry_run": True,
            "would": action,
            "allowed": refusal is None,
            "refusal": refusal,
            "generation": self.desired.generation,
            **_route(planned),
            "share_of_users_moving": max(each["share_of_users_moving"] for each in services),
            "services": services,
        }

    def _tell_of_move(self, call: Call, action: str, planned: Sequence[Move], total_s: float) -> None:
        for move in planned:
            self.events.add(
                action,
                f"{move.service}: {move.source} → {move.target} by {call.actor} in {_ms(total_s):.1f} ms",
                service=move.service,
                generation=self.desired.generation,
                **{"from": move.source, "to": move.target, "milliseconds": _ms(total_s)},
            )

    def _entry(
        self, call: Call, action: str, names: Sequence[str], outcome: str, *, detail: str = ""
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
            outcome=outcome,
            detail=detail,
        )

    # Private: holds

    def _hold(self, names: Sequence[str], limits: HoldLimits) -> tuple[int, ...]:
        if any(name in self.holds.present() for name in names):
            raise Conflict(f"{', '.join(names)}: already held", generation=self.desired.generation)
        ids = self.holds.begin(names, limits, time.time())
        self.publish()
        return ids

    def _end_hold(self, ids: tuple[int, ...], why: str) -> None:
        ended = self.holds.end(ids)
        if ended:
            self.publish()
        for name in ended:
            self.events.add("hold", f"requests of {name} go on: {why}", service=name)

    async def _until_empty(
        self, call: Call, action: str, planned: Sequence[Move], held: tuple[int, ...], limits: HoldLimits
    ) -> None:
        """Waits until nothing is in flight in the pools that are to be left; else releases to them."""
        why = ""
        try:
            async with asyncio.timeout(limits.timeout_s):
                while not self._is_empty(planned):
                    if self.engine.ended_holds().intersection(held):
                        why = "a limit of the hold was reached"
                        break
                    if not self.holds.has(held):
                        why = "the hold was released"
                        break
                    await self.engine.news()
        except TimeoutError:
            why = f"it was not empty after {limits.timeout_s:g} s"
        if not why and self.engine.ended_holds().intersection(held):
            why = "a limit of the hold was reached"
        if not why:
            return
        left = {move.service: self.engine.traffic(move.service, move.source).in_flight for move in planned}
        self._end_hold(held, why)
        names = [move.service for move in planned]
        source = planned[0].source
        detail = f"traffic stays on {source}: {why}; in flight: {left}. No request was lost."
        await self.store.record(
            replace(
                self._entry(call, action, names, "timed_out", detail=detail),
                from_pool=source,
                to_pool=planned[0].target,
            )
        )
        raise HoldTimedOut(detail, generation=self.desired.generation, in_flight=left)

    def _is_empty(self, planned: Sequence[Move]) -> bool:
        return self.engine.is_live() is True and all(
            self.engine.traffic(move.service, move.source).in_flight == 0 for move in planned
        )

    def _publish_now(self) -> None:
        self._publish_soon = None
        self.publish()


def canary_json(canary: Canary | None) -> Answer | None:
    if canary is None:
        return None
    match = [{rule.kind: rule.name, "value": rule.value} for rule in canary.match]
    return {"weight": canary.weight, "match": match, "salt": canary.salt}


def describe_changes(before: Config, after: Config) -> list[str]:
    """What an operator would say is different; empty if nothing is."""
    changes = [f"service {name} removed" for name in before.services if name not in after.services]
    for name, service in after.services.items():
        if name not in before.services:
            changes.append(f"service {name} added")
        elif before.services[name] != service:
            changes.append(f"service {name} changed")
    changes += [
        f"{what} changed"
        for what in ("listeners", "workers", "admin", "groups", "resolve_interval_s", "shutdown_timeout_s")
        if getattr(before, what) != getattr(after, what)
    ]
    return changes


def _route(planned: Sequence[Move]) -> Answer:
    sources, targets = {move.source for move in planned}, {move.target for move in planned}
    return {
        "service": planned[0].service if len(planned) == 1 else None,
        "from": sources.pop() if len(sources) == 1 else None,
        "to": targets.pop() if len(targets) == 1 else None,
        "services": [{"service": move.service, "from": move.source, "to": move.target} for move in planned],
    }


def _named(names: Sequence[str]) -> Answer:
    return {"service": names[0] if len(names) == 1 else None, "services": list(names)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
