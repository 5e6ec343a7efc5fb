"""Whether pools may get traffic, by what the roster knows now. A refusal is written down and told.

What counts as a proof is in `decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bgproxy.errors import NotHealthy
from bgproxy.switch import decide
from bgproxy.switch.calls import Call
from bgproxy.switch.decide import Move

if TYPE_CHECKING:
    from bgproxy.switch.switchboard import Switchboard


def refusal(board: Switchboard, action: str, planned: Sequence[Move]) -> NotHealthy | None:
    """Why the targets may not have traffic; None if they may."""
    targets = [(move.service, move.target) for move in planned]
    try:
        decide.require_proof(board.roster.proofs(targets), targets, rollback=action == "rollback")
    except NotHealthy as refused:
        refused.extra["generation"] = board.desired.generation
        return refused
    return None


async def require(board: Switchboard, call: Call, action: str, planned: Sequence[Move]) -> None:
    """Raises `NotHealthy` if the targets may not have traffic, once that is in the history."""
    refused = refusal(board, action, planned)
    if refused is None:
        return
    names = [move.service for move in planned]
    entry = board.entry(call, action, names, "refused", detail=refused.detail, planned=planned)
    await board.store.record(entry)
    board.events.add(
        action,
        f"{action} of {', '.join(names)} refused: {refused.detail}",
        service=names[0] if len(names) == 1 else None,
        outcome="refused",
    )
    raise refused
