from __future__ import annotations

from bgproxy.errors import Conflict
from bgproxy.switch import decide, dry_run
from bgproxy.switch.answers import Answer

from .stage import CALL, Stage


def run(stage: Stage, *names: str, refusal: Conflict | None = None) -> Answer:
    board = stage.board
    planned = decide.moves(board.config, board.desired, names, None)
    proofs = board.roster.proofs((move.service, move.target) for move in planned)
    return dry_run.of_move("switch", planned, board.desired, board.engine, proofs, refusal)


async def test_it_tells_what_would_have_to_drain(web: Stage) -> None:
    web.worker.carry("blue", in_flight=3, tunnels=2)
    answer = run(web, "web")
    (service,) = answer["services"]
    assert (service["in_flight"], service["tunnels"]) == (3, 2)
    assert service["upstreams"] == [
        {
            "upstream": web.backends["web/green/0"].address,
            "health": "healthy",
            "reason": web.board.roster.proofs([("web", "green")])[0].reason,
        }
    ]


async def test_it_tells_how_many_would_notice(shop: Stage) -> None:
    await shop.board.set_canary(CALL, "web", 75, ())
    answer = run(shop, "web", "api")
    assert [each["share_of_users_moving"] for each in answer["services"]] == [0.25, 1.0]
    assert answer["share_of_users_moving"] == 1.0
    assert run(shop, "web")["share_of_users_moving"] == 0.25


async def test_it_tells_the_refusal(web: Stage) -> None:
    answer = run(web, "web", refusal=Conflict("somebody else was first"))
    assert (answer["allowed"], answer["refusal"]) == (False, "somebody else was first")
    assert answer["generation"] == 1
