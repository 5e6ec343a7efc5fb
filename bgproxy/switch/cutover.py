"""A cutover: all traffic of some services to other pools, in one publication. First the proof that the targets
are healthy; then, if asked for, a hold until nothing is under way in the old pools.

Changes the desired state through the switchboard only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bgproxy.engines.base import Engine
from bgproxy.errors import Conflict, ControlError, HoldTimedOut
from bgproxy.switch import answers, decide, dry_run, proof
from bgproxy.switch.answers import Answer
from bgproxy.switch.calls import Call, HoldLimits
from bgproxy.switch.decide import Move
from bgproxy.switch.holds import Holds

if TYPE_CHECKING:
    from bgproxy.switch.switchboard import Switchboard


async def cut_over(
    board: Switchboard,
    call: Call,
    action: str,
    planned: Sequence[Move],
    *,
    force: bool,
    hold: HoldLimits | None,
) -> Answer:
    """`action` is switch or rollback, which differ in the proof that they need."""
    if call.dry_run:
        return _dry_run(board, call, action, planned, force=force)
    started = time.monotonic()
    names = [move.service for move in planned]
    with board.claim(call, names):
        if not force:
            await proof.require(board, call, action, planned)
        held: tuple[int, ...] = ()
        held_s = 0.0
        try:
            if hold is not None:
                held = board.holds.begin(names, hold)
                await _empty_old_pools(board, call, action, planned, held, hold.timeout_s)
                held_s = time.monotonic() - started
                if not force:  # once more: a target may have fallen ill meanwhile
                    await proof.require(board, call, action, planned)
            now = time.time()
            answer, sync_s = await board.commit(
                call,
                lambda desired: decide.switched(board.config, desired, planned, now),
                board.entry(
                    call,
                    action,
                    names,
                    "done",
                    planned=planned,
                    duration_ms=answers.milliseconds(time.monotonic() - started),
                    forced=force,
                ),
                lambda _: {
                    **answers.route(planned),
                    "forced": force,
                    "held_milliseconds": answers.milliseconds(held_s),
                },
                held,
            )
        finally:
            board.holds.end(held, "there was no cutover")
        total_s = time.monotonic() - started
    for move in planned:
        moved: dict[str, Any] = {"from": move.source, "to": move.target}
        board.events.add(
            action,
            f"{move.service}: {move.source} → {move.target} by {call.actor} in {total_s * 1000:.1f} ms",
            service=move.service,
            generation=answer["generation"],
            milliseconds=answers.milliseconds(total_s),
            **moved,
        )
    return {
        **answer,
        "milliseconds": answers.milliseconds(total_s),
        "sync_milliseconds": answers.milliseconds(sync_s),
    }


# Private


async def _empty_old_pools(
    board: Switchboard,
    call: Call,
    action: str,
    planned: Sequence[Move],
    held: tuple[int, ...],
    timeout_s: float,
) -> None:
    """Returns when nothing is in flight in the old pools; else lets the parked requests go on to them."""
    why = await _until_empty(board.engine, board.holds, held, planned, timeout_s)
    if why is None:
        return
    left = {move.service: board.engine.traffic(move.service, move.source).in_flight for move in planned}
    board.holds.end(held, why)
    names = [move.service for move in planned]
    detail = f"traffic stays on {planned[0].source}: {why}; in flight: {left}. No request was lost."
    await board.store.record(board.entry(call, action, names, "timed_out", detail=detail, planned=planned))
    raise HoldTimedOut(detail, generation=board.desired.generation, in_flight=left)


async def _until_empty(
    engine: Engine, holds: Holds, held: Sequence[int], planned: Sequence[Move], timeout_s: float
) -> str | None:
    """None when the old pools are empty, or else why the hold is over before."""
    try:
        async with asyncio.timeout(timeout_s):
            # In this order: once requests are parked no more, an empty pool proves nothing.
            while (over := _why_over(engine, holds, held)) is None and not _is_empty(engine, planned):
                await engine.news()
    except TimeoutError:
        return f"it was not empty after {timeout_s:g} s"
    return over


def _why_over(engine: Engine, holds: Holds, held: Sequence[int]) -> str | None:
    if engine.ended_holds().intersection(held):
        return "a limit of the hold was reached"
    if not holds.has(held):
        return "the hold was released"
    return None


def _is_empty(engine: Engine, planned: Sequence[Move]) -> bool:
    return engine.is_live() is True and all(
        engine.traffic(move.service, move.source).in_flight == 0 for move in planned
    )


def _dry_run(board: Switchboard, call: Call, action: str, planned: Sequence[Move], *, force: bool) -> Answer:
    refusal: ControlError | None
    try:
        with board.claim(call, [move.service for move in planned]):
            refusal = None if force else proof.refusal(board, action, planned)
    except Conflict as error:
        refusal = error
    proofs = board.roster.proofs((move.service, move.target) for move in planned)
    return dry_run.of_move(action, planned, board.desired, board.engine, proofs, refusal)
