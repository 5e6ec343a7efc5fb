"""What happened between two statuses: requests per second, errors and shares of each pool. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
"""A service and a pool of it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`share` is of the service's requests in that time; None, as `errors`, if there were none."""

    requests_per_s: float
    errors: float | None
    share: float | None


def rates(before: dict[str, Any], after: dict[str, Any], elapsed_s: float) -> dict[Key, Rate]:
    """Pools whose counters went back (bgproxy was started anew) or are new have no rate yet."""
    earlier = {service["service"]: service["pools"] for service in before["services"]}
    result: dict[Key, Rate] = {}
    for service in after["services"]:
        name = service["service"]
        deltas = {
            pool: (now["requests"] - then["requests"], failed(now) - failed(then))
            for pool, now in service["pools"].items()
            if (then := earlier.get(name, {}).get(pool)) is not None
        }
        if elapsed_s <= 0 or any(requests < 0 or errors < 0 for requests, errors in deltas.values()):
            continue
        arrived = sum(requests for requests, _ in deltas.values())
        for pool, (requests, errors) in deltas.items():
            result[name, pool] = Rate(
                requests_per_s=requests / elapsed_s,
                errors=min(errors / requests, 1.0) if requests else None,
                share=requests / arrived if arrived else None,
            )
    return result


def failed(pool: dict[str, Any]) -> int:
    """Answers that a client takes for the service's failure: 5xx, or none at all."""
    responses = pool["responses"]
    return int(responses.get("5xx", 0)) + int(responses.get("none", 0))
