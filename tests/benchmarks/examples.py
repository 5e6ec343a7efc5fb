"""Rounds and results that the tests of the reports share."""

from dataclasses import asdict
from typing import Any

from benchmarks import rounds
from benchmarks.rounds import Round

CIRCUMSTANCES: dict[str, Any] = {
    "command": "python -m benchmarks.example",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "Some CPU", "cores": 2, "memory_mib": 8000, "kernel": "6.1", "virtual": True},
    "versions": {"bgproxy": "0.1.0 (1234567)", "nginx": "1.22.1", "wrk": "none"},
}


def a_round(
    number: int = 1,
    proxy: str = "bgproxy",
    *,
    cpu_us: float = 10.0,
    per_s: int = 10_000,
    workers: int = 1,
    scenario: str = "small",
    failures: int = 0,
    others: float = 0.0,
) -> Round:
    """Two seconds of load; the CPU time is spread evenly over the workers."""
    requests = per_s * 2
    cpu_s = cpu_us * requests / 1e6
    return Round(
        number=number,
        scenario=scenario,
        proxy=proxy,
        workers=workers,
        requests=requests,
        failures=failures,
        elapsed_s=2.0,
        cpu_s=cpu_s,
        worker_cpu_s=(cpu_s / workers,) * workers,
        others=others,
        p50_s=0.001,
        p99_s=0.004,
        pss_bytes=30 << 20,
    )


def a_result(found: list[Round], kind: str = "cpu") -> dict[str, Any]:
    return {
        "kind": kind,
        **CIRCUMSTANCES,
        "settings": {"rounds": 3, "seconds": 2, "proxy_cores": [0], "load_cores": [1]},
        "summary": rounds.scale(found) if kind == "workers" else rounds.compare(found),
        "rounds": [asdict(each) for each in found],
    }
