"""Those who would come into a pool: there has to be room to count them, and in an active pool they prove
themselves before the change that brings them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bgproxy.errors import Conflict
from bgproxy.model import Config, Desired, Health
from bgproxy.switch import decide

if TYPE_CHECKING:
    from bgproxy.switch.switchboard import Switchboard

# How long they have to prove themselves before the change is refused.
INTRODUCTION_S: Final = 5.0


def require_room(board: Switchboard, config: Config, after: Desired) -> None:
    """What cannot be published must not be committed."""
    members = board.roster.members_of(config, after)
    upstreams = [(each.service, each.pool, each.address) for each in members]
    if not board.engine.has_room([*((name,) for name in config.services), *upstreams]):
        raise Conflict(
            f"{len(upstreams)} upstreams of {len(config.services)} services are more than the workers have "
            "room to count: take fewer, or try again when requests to those that were removed have ended",
            generation=board.desired.generation,
        )


async def introduce(board: Switchboard, config: Config, after: Desired, *, refuse: bool) -> None:
    """Has those who come into an active pool checked first, so that it is never without anybody."""
    stay = [name for name in after.services if name in board.desired.services]
    pools = [(name, after.services[name].active) for name in stay]
    serving = {
        (proof.service, proof.pool) for proof in board.roster.proofs(pools) if proof.health is Health.HEALTHY
    }
    try:
        met = await board.roster.meet(config, after, pools, INTRODUCTION_S)
        if refuse:
            decide.require_somebody(met, serving)
    except BaseException:
        board.roster.follow(board.config, board.desired)
        raise
