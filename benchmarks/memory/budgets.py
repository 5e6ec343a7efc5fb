"""What is promised of memory, and which of a result's figures break a promise."""

from __future__ import annotations

from typing import Any, Final

MIB: Final = 1024 * 1024

# For 100 slow readers and 100 slow uploads of 50 MiB at once.
GROWTH_BYTES: Final = 64 * MIB
# For an idle connection without TLS; with TLS, most of it is OpenSSL's.
IDLE_BYTES: Final = 4 * 1024
# For one that has ended.
LEFT_BYTES: Final = 1024
# The median latency of a client among idle ones, by that of one alone: what is more is no accident.
DISTURBANCE: Final = 1.2

Json = dict[str, Any]


def broken(result: Json) -> list[str]:
    """A sentence for each promise that was not kept."""
    return [
        *(
            f"{row['about']}: {row['transfers'] - row['whole']} of {row['transfers']} transfers failed: "
            + "; ".join(row["broken"])
            for row in result["transfers"]
            if row["whole"] != row["transfers"]
        ),
        *(
            f"{row['about']}: {row['rss_growth_bytes'] / MIB:.1f} MiB is more than {GROWTH_BYTES // MIB}"
            for row in result["transfers"]
            if row["rss_growth_bytes"] > GROWTH_BYTES
        ),
        *(
            f"an idle connection costs {row['bytes_each']:,.0f} bytes, more than {IDLE_BYTES:,}"
            for row in result["idle"]
            if not row["tls"] and row["bytes_each"] > IDLE_BYTES
        ),
        *(
            f"{_tls(row)}a connection that has ended leaves {row['left_bytes_each']:,.0f} bytes, more than {LEFT_BYTES:,}"
            for row in result["churn"]
            if row["left_bytes_each"] > LEFT_BYTES
        ),
        *(
            f"among {row['connections']:,} idle connections, a request takes {row['ratio']:.2f} times as long"
            for row in result["disturbance"]
            if row["ratio"] > DISTURBANCE
        ),
    ]


# Private


def _tls(row: Json) -> str:
    return "with TLS, " if row["tls"] else ""
