"""A change that asks nothing of anybody but the state store: one commit, one publication, one answer.

Decides nothing: what is allowed and what it makes of the state is the caller's function, which may be called
for a dry run as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bgproxy.errors import NotHealthy
from bgproxy.model import Desired
from bgproxy.switch import answers
from bgproxy.switch.answers import Answer
from bgproxy.switch.calls import Call

if TYPE_CHECKING:
    from bgproxy.switch.switchboard import Switchboard


async def change(
    board: Switchboard,
    call: Call,
    action: str,
    names: Sequence[str],
    decided: Callable[[Desired], Desired],
    described: Callable[[Desired], Answer],
    told: Callable[[str], str],
    *,
    from_pool: str | None = None,
    to_pool: str | None = None,
    forced: bool = False,
    refusal: NotHealthy | None = None,
) -> Answer:
    """Puts what `decided` makes of the state into force. `told` has a sentence about each service."""
    started = time.monotonic()

    def described_whole(after: Desired) -> Answer:
        return {"service": names[0] if len(names) == 1 else None, **described(after)}

    if call.dry_run:
        after = decided(board.desired)
        return {
            **answers.would(action, refusal),
            "generation": after.generation,
            **described_whole(after),
        }
    entry = replace(
        board.entry(call, action, names, "done", detail="; ".join(told(name) for name in names)),
        from_pool=from_pool,
        to_pool=to_pool,
        forced=forced,
    )
    answer, _ = await board.commit(call, decided, entry, described_whole)
    for name in names:
        board.events.add(action, told(name), service=name, actor=call.actor, generation=answer["generation"])
    return {**answer, "milliseconds": answers.milliseconds(time.monotonic() - started)}
