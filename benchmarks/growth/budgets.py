"""What is promised of growth, and which of a result's figures break a promise. Pure."""

from __future__ import annotations

from typing import Any, Final

from benchmarks.memory.budgets import IDLE_BYTES, MIB

# A request may be so much dearer at the end of the series than at its beginning.
FLAT: Final = 1.10
FLAT_SERIES: Final = ("upstreams", "services")
# Controller, one worker and the supervisor; and each further worker.
FIRST_BYTES: Final = 60 * MIB
FURTHER_BYTES: Final = 20 * MIB

Json = dict[str, Any]


def further_bytes(processes: list[Json]) -> float:
    """What a further worker costs: the largest crew less the smallest, by the difference in number."""
    least, most = processes[0], processes[-1]
    more_bytes: int = most["pss_bytes"] - least["pss_bytes"]
    more_workers: int = most["workers"] - least["workers"]
    return more_bytes / more_workers


def broken(result: Json) -> list[str]:
    """A sentence for each promise that was not kept; of what was not measured, nothing is said."""
    found = [
        f"{row['failures']:,} requests failed with {row['series']} = {row['value']:,}"
        for row in result["summary"]
        if row["failures"]
    ]
    found += [
        f"with {row['value']:,} {row['series']}, a request costs {row['ratio']['median']:.2f} times as much, "
        f"more than {FLAT:.2f}"
        for row in result["summary"]
        if row["series"] in FLAT_SERIES and row["ratio"]["median"] > FLAT
    ]
    if processes := result.get("processes"):
        first = processes[0]["pss_bytes"]
        further = further_bytes(processes)
        if first > FIRST_BYTES:
            found.append(
                f"controller and a worker hold {first / MIB:.1f} MiB, more than {FIRST_BYTES // MIB}"
            )
        if further > FURTHER_BYTES:
            found.append(f"a further worker holds {further / MIB:.1f} MiB, more than {FURTHER_BYTES // MIB}")
    if (idle := result.get("idle")) and idle["bytes_each"] > IDLE_BYTES:
        found.append(f"an idle connection costs {idle['bytes_each']:,.0f} bytes, more than {IDLE_BYTES:,}")
    return found
