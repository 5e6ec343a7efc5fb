"""Points and results that the tests of summary, budgets, report and plot share."""

from dataclasses import asdict
from typing import Any

from benchmarks.growth import series
from benchmarks.growth.series import Point
from benchmarks.memory.budgets import MIB
from tests.benchmarks.examples import CIRCUMSTANCES


def a_point(
    number: int = 1,
    name: str = "upstreams",
    value: int = 1,
    *,
    cpu_us: float = 10.0,
    workers: int = 1,
    failures: int = 0,
) -> Point:
    """Two seconds of load."""
    return Point(
        number=number,
        series=name,
        value=value,
        workers=workers,
        requests=20_000,
        failures=failures,
        elapsed_s=2.0,
        cpu_s=cpu_us * 20_000 / 1e6,
        user_s=cpu_us / 4 * 20_000 / 1e6,
        pss_bytes=50 * MIB,
    )


def steps(name: str, *costs: tuple[int, float], failures: int = 0) -> list[Point]:
    return [a_point(1, name, value, cpu_us=cpu_us, failures=failures) for value, cpu_us in costs]


def a_result(
    found: list[Point],
    *,
    first_mib: float = 55.0,
    further_mib: float = 15.0,
    idle_bytes: float = 2600.0,
) -> dict[str, Any]:
    return {
        **CIRCUMSTANCES,
        "settings": {
            "rounds": 3,
            "seconds": 2,
            "connections": 64,
            "addresses": 2000,
            "rate_per_s": 5000,
            "descriptors": 20_000,
            "proxy_cores": [0],
            "load_cores": [1],
        },
        "processes": [
            {
                "workers": workers,
                "pss_bytes": int((first_mib + (workers - 1) * further_mib) * MIB),
                "controller_bytes": 30 * MIB,
                "workers_bytes": int(workers * further_mib * MIB),
            }
            for workers in (1, 2, 4)
        ],
        "idle": {
            "asked": True,
            "tls": False,
            "connections": 10_000,
            "workers": 2,
            "bytes_each": idle_bytes,
        },
        "probing": {"upstreams": 2000, "interval_s": 2, "seconds": 10, "core": 0.205, "us_each": 205.0},
        "summary": series.summarise(found),
        "points": [asdict(each) for each in found],
    }
