"""The books of one proxy's run as numbers, which is all that report and plot know. Pure; never kinder than the books."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from math import isnan
from typing import Any, Final

from benchmarks.cutover import near
from benchmarks.cutover.play import Books
from benchmarks.zero_downtime_report import LATENCY_SHARES, SWITCH_SHARES, Switch, percentiles_ms
from bgproxy.demo.ledger import Request, quantile
from bgproxy.demo.stage import SIDES

Json = dict[str, Any]

# Of the picture around a switch, from the moment at which it was sent.
PROFILE_FROM_S: Final = -0.1
PROFILE_BINS: Final = 40
PROFILE_BIN_S: Final = 0.01


def of(books: Books) -> Json:
    ledger, switches = books.ledger, books.switches
    errors, stale = ledger.errors(), ledger.stale()
    latency = near.compare(ledger.requests, switches, books.commits)
    acks = [each.acked - each.sent for each in switches]
    last_old = last_old_s(ledger.requests, switches)
    began = min((each.started for each in ledger.requests), default=0.0)
    return {
        "requests": len(ledger.requests),
        "posts": sum(each.method == "POST" for each in ledger.requests),
        "errors": len(errors),
        "error_kinds": dict(Counter(f"{each.outcome} {each.status or ''}".strip() for each in errors)),
        "stale": len(stale),
        "posts_done_twice": len(ledger.duplicates()),
        "answered_not_done": len(ledger.unprocessed()),
        "acknowledged_ms": percentiles_ms(acks, SWITCH_SHARES),
        "beyond_own_sync_ms": percentiles_ms(
            [each.acked - each.sent - each.sync_s for each in switches], SWITCH_SHARES
        ),
        "own_sync_ms": percentiles_ms([each.sync_s for each in switches], SWITCH_SHARES),
        "empty_call_ms": percentiles_ms(books.empty_calls_s, SWITCH_SHARES),
        "commit_ms": percentiles_ms([each.ended - each.began for each in books.commits], SWITCH_SHARES),
        "last_old_ms": percentiles_ms(last_old, SWITCH_SHARES),
        "cpu_ms": round(books.cpu_s * 1000, 2),
        "latency_ms": {
            "near": percentiles_ms(latency.near, LATENCY_SHARES),
            "elsewhere": percentiles_ms(latency.elsewhere, LATENCY_SHARES),
            "noise": [_ms(seconds) for seconds in latency.noise],
        },
        "profile": profile(ledger.requests, switches),
        "switches": [
            {
                "at_s": round(each.sent - began, 4),
                "to": each.to,
                "acknowledged_ms": _ms(each.acked - each.sent),
                "last_old_ms": _ms(old),
            }
            for each, old in zip(switches, last_old, strict=True)
        ],
    }


def last_old_s(requests: Sequence[Request], switches: Sequence[Switch]) -> list[float]:
    """From when each switch was sent until the last answer of the side that it left; 0 if there was none.

    An answer belongs to the newest switch that was sent before it. GET /slow is in flight for long on purpose, and
    has a right to be.
    """
    sent = [each.sent for each in switches]
    found = [0.0] * len(switches)
    for each in requests:
        index = bisect_right(sent, each.ended) - 1
        if index >= 0 and each.ok and each.path != "/slow" and each.version != SIDES[switches[index].to]:
            found[index] = max(found[index], each.ended - sent[index])
    return found


def profile(requests: Sequence[Request], switches: Sequence[Switch]) -> list[Json]:
    """What clients got in each moment around a switch, all switches together, by when it ended."""
    sent = [each.sent for each in switches]
    bins: list[Json] = [{"old": 0, "new": 0, "failed": 0} for _ in range(PROFILE_BINS)]
    seconds: list[list[float]] = [[] for _ in range(PROFILE_BINS)]
    for each in requests:
        index = bisect_right(sent, each.ended - PROFILE_FROM_S) - 1
        if index < 0 or each.path == "/slow":
            continue
        number = int((each.ended - sent[index] - PROFILE_FROM_S) // PROFILE_BIN_S)
        if number >= PROFILE_BINS:
            continue
        if not each.ok:
            bins[number]["failed"] += 1
            continue
        bins[number]["new" if each.version == SIDES[switches[index].to] else "old"] += 1
        seconds[number].append(each.ended - each.started)
    for number, each_bin in enumerate(bins):
        each_bin["from_ms"] = round((PROFILE_FROM_S + number * PROFILE_BIN_S) * 1000)
        each_bin["p99_ms"] = _ms(quantile(sorted(seconds[number]), near.SHARE)) if seconds[number] else None
    return bins


# Private


def _ms(seconds: float) -> float | None:
    return None if isnan(seconds) else round(seconds * 1000, 3)
