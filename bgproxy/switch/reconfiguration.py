"""Another configuration, applied as one change of all services. Active pools stay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from bgproxy.model import Config
from bgproxy.state.base import ConfigText
from bgproxy.switch import answers, compose, decide, newcomers
from bgproxy.switch.calls import Call

if TYPE_CHECKING:
    from bgproxy.switch.switchboard import Switchboard


async def reconfigure(
    board: Switchboard,
    call: Call,
    config: Config,
    text: ConfigText,
    prepare: Callable[[], Awaitable[None]] | None,
) -> list[str]:
    """Returns what changed, in words."""
    before = board.config
    names = [*before.services, *(name for name in config.services if name not in before.services)]
    with board.claim(call, names):
        changed = answers.describe_changes(before, config)
        if not changed:
            return []
        decide.require_active_pools(board.desired, config)
        newcomers.require_room(board, config, compose.reconcile(board.desired, config, before))
        await newcomers.introduce(
            board, config, compose.reconcile(board.desired, config, before), refuse=True
        )
        entry = board.entry(call, "reload", tuple(config.services), "done", detail="; ".join(changed))
        try:
            if prepare is not None:
                await prepare()
            generation = await board.commit_config(config, text, entry)
        except BaseException:
            board.roster.follow(board.config, board.desired)
            raise
    board.events.add("reload", f"configuration applied: {'; '.join(changed)}", generation=generation)
    return changed
