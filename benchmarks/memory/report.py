"""Results of the memory benchmark as Markdown, made from the stored JSON alone. It must never leave out a failure."""

from __future__ import annotations

from typing import Any

from benchmarks import machine
from benchmarks.cpu_report import table
from benchmarks.memory import budgets
from benchmarks.memory.budgets import MIB

Json = dict[str, Any]


def render(result: Json) -> str:
    settings = result["settings"]
    transfers = settings["each"]
    size_mib = settings["size_bytes"] // MIB
    lines = [
        "# Memory of a worker",
        "",
        machine.sentence(result),
        "",
        (
            f"One worker. {transfers} clients read responses of {size_mib} MiB and {transfers} send bodies of {size_mib} "
            f"MiB, at once; for {settings['slow_s']:g} s readers and upstream take 64 KiB a second from each, then all they "
            "can get, to the end. Growth is the highest resident set that the kernel has recorded, less that of before. "
            f"Promised: {budgets.GROWTH_BYTES // MIB} MiB."
        ),
        "",
        *table(
            ["slow readers and slow uploads", "before, MiB", "growth, MiB", "left, MiB", "whole"],
            [
                [
                    row["about"],
                    _mib(row["baseline_bytes"]),
                    _mib(row["rss_growth_bytes"]),
                    _mib(row["left_bytes"]),
                    f"{row['whole']} of {row['transfers']}",
                ]
                for row in result["transfers"]
            ],
        ),
        "",
        f"Promised of an idle connection: {budgets.IDLE_BYTES:,} bytes (Pss of the workers), without TLS.",
        "",
        *table(
            ["idle connections", "number", "workers", "bytes each"],
            [
                [_kind(row), f"{row['connections']:,}", str(row["workers"]), f"{row['bytes_each']:,.0f}"]
                for row in result["idle"]
            ],
        ),
        "",
        f"Promised of a connection that had a request and has ended: to leave no more than {budgets.LEFT_BYTES:,} bytes.",
        "",
        *table(
            ["connections that have ended", "number", "left of each, bytes"],
            [
                [
                    "TLS" if row["tls"] else "plain",
                    f"{row['connections']:,}",
                    f"{row['left_bytes_each']:,.0f}",
                ]
                for row in result["churn"]
            ],
        ),
        "",
        "A client that asks again and again, alone and among others that do nothing, in turn; medians.",
        "",
        *table(
            ["idle connections", "alone, µs", "among them, µs", "ratio"],
            [
                [
                    f"{row['connections']:,}",
                    f"{row['alone_s'] * 1e6:.0f}",
                    f"{row['among_s'] * 1e6:.0f}",
                    f"{row['ratio']:.2f}",
                ]
                for row in result["disturbance"]
            ],
        ),
    ]
    broken = budgets.broken(result)
    lines += (
        ["", *(f"**Not kept: {each}.**" for each in broken)] if broken else ["", "All promises are kept."]
    )
    return "\n".join(lines) + "\n"


# Private


def _kind(row: Json) -> str:
    protocol = "TLS" if row["tls"] else "plain"
    return f"{protocol}, {'after a request' if row['asked'] else 'never sent a byte'}"


def _mib(count: int) -> str:
    return f"{count / MIB:.1f}"
