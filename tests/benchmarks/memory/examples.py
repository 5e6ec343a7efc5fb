"""A result that keeps every promise."""

from typing import Any

from benchmarks.memory.budgets import MIB
from tests.benchmarks.examples import CIRCUMSTANCES


def a_result(
    *,
    growth_mib: float = 30.5,
    whole: int = 200,
    idle_bytes: float = 2600,
    tls: bool = False,
    left_bytes: float = 20,
    ratio: float = 1.01,
) -> dict[str, Any]:
    return {
        **CIRCUMSTANCES,
        "settings": {
            "each": 100,
            "size_bytes": 50 * MIB,
            "slow_s": 10.0,
        },
        "transfers": [
            {
                "about": "chunked",
                "transfers": 200,
                "whole": whole,
                "broken": [] if whole == 200 else ["Broken: HTTP/1.1 502 Bad Gateway"],
                "baseline_bytes": 25 * MIB,
                "rss_growth_bytes": int(growth_mib * MIB),
                "left_bytes": 4 * MIB,
            }
        ],
        "idle": [{"asked": True, "tls": tls, "connections": 10_000, "workers": 2, "bytes_each": idle_bytes}],
        "churn": [{"tls": True, "connections": 5_000, "left_bytes_each": left_bytes}],
        "disturbance": [{"connections": 2_000, "alone_s": 100e-6, "among_s": 101e-6, "ratio": ratio}],
    }
