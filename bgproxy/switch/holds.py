"""The holds that are on. They are not desired state: a controller that dies takes its holds with it, and
the workers let go by themselves when the time is up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from bgproxy.errors import Conflict
from bgproxy.model import Hold
from bgproxy.observability.events import EventLog
from bgproxy.switch import answers
from bgproxy.switch.answers import Answer
from bgproxy.switch.calls import Call, HoldLimits

if TYPE_CHECKING:
    from bgproxy.switch.switchboard import Switchboard

# Workers let go this much later than the controller, which is to be the first while it lives.
WORKER_GRACE_S: Final = 1.0


class Holds:
    """`publish` tells the engine, which is all that begins or ends a hold."""

    def __init__(self, events: EventLog, publish: Callable[[], None]) -> None:
        self._events = events
        self._publish = publish
        self._by_service: dict[str, Hold] = {}
        self._last_id = 0

    def present(self) -> Mapping[str, Hold]:
        """The hold of each service that has one."""
        return self._by_service

    def has(self, ids: Sequence[int]) -> bool:
        """True while all of them are on."""
        return {hold.id for hold in self._by_service.values()}.issuperset(ids)

    def require_free(self, names: Sequence[str]) -> None:
        held = [name for name in names if name in self._by_service]
        if held:
            raise Conflict(f"{', '.join(held)}: already held; wait, or release the hold first")

    def begin(self, names: Sequence[str], limits: HoldLimits) -> tuple[int, ...]:
        """A hold of its own for each service; ids are never used twice, also not by a successor."""
        self.require_free(names)
        until = time.time() + limits.timeout_s + WORKER_GRACE_S
        ids = []
        for name in names:
            self._last_id = max(self._last_id + 1, time.time_ns() // 1000)
            self._by_service[name] = Hold(self._last_id, until, limits.max_requests, limits.max_bytes)
            ids.append(self._last_id)
        self._publish()
        return tuple(ids)

    def end(self, ids: Sequence[int], why: str) -> None:
        """Ends those of them that are still on."""
        ended = self.forget(ids)
        if ended:
            self._publish()
        for name in ended:
            self._events.add("hold", f"requests of {name} go on: {why}", service=name)

    def forget(self, ids: Sequence[int]) -> list[str]:
        """Leaves them out of the next publication, which the caller makes; returns their services."""
        forgotten = [name for name, hold in self._by_service.items() if hold.id in ids]
        for name in forgotten:
            del self._by_service[name]
        return forgotten


async def hold(board: Switchboard, call: Call, names: Sequence[str], limits: HoldLimits) -> Answer:
    """Begins a hold that is no part of a cutover."""
    with board.claim(call, names):
        board.holds.require_free(names)
        if call.dry_run:
            return {
                **answers.would("hold"),
                **answers.named(names),
                "generation": board.desired.generation,
            }
        await board.store.record(
            board.entry(call, "hold", names, "done", detail=f"for {limits.timeout_s:g} s")
        )
        ids = board.holds.begin(names, limits)
    until = time.time() + limits.timeout_s
    asyncio.get_running_loop().call_later(limits.timeout_s, board.holds.end, ids, "its time is up")
    for name in names:
        board.events.add("hold", f"new requests of {name} are held", service=name, until=until)
    return {"hold": ids[0], **answers.named(names), "until": until, "generation": board.desired.generation}


async def release(board: Switchboard, call: Call, names: Sequence[str]) -> Answer:
    """Ends the holds of these services, those of cutovers as well."""
    board.require_generation(call)
    present = board.holds.present()
    ids = tuple(present[name].id for name in names if name in present)
    if not ids:
        raise Conflict(f"{', '.join(names)}: nothing is held", generation=board.desired.generation)
    answer = {
        **answers.named(names),
        "released": sum(board.engine.parked(name)[0] for name in names),
        "generation": board.desired.generation,
    }
    if call.dry_run:
        return {**answers.would("release-hold"), **answer}
    board.holds.end(ids, f"released by {call.actor}")
    await board.store.record(board.entry(call, "release-hold", names, "done"))
    return answer
