"""What a switch would do: is it allowed, what would have to drain, how many would notice. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bgproxy.engines.base import Engine
from bgproxy.errors import ControlError
from bgproxy.model import Desired
from bgproxy.switch.answers import Answer, route, would
from bgproxy.switch.decide import Move, Proof


def of_move(
    action: str,
    planned: Sequence[Move],
    desired: Desired,
    engine: Engine,
    proofs: Sequence[Proof],
    refusal: ControlError | None,
) -> Answer:
    services: list[Answer] = []
    for move in planned:
        traffic = engine.traffic(move.service, move.source)
        canary = desired.services[move.service].canary
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
        **would(action, refusal),
        "generation": desired.generation,
        **route(planned),
        "share_of_users_moving": max(each["share_of_users_moving"] for each in services),
        "services": services,
    }
