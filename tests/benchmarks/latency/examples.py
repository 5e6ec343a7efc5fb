"""Samples that the tests of summary, report and plot share."""

from dataclasses import asdict
from typing import Any

from benchmarks.latency import samples
from benchmarks.latency.percentiles import CURVE, name
from benchmarks.latency.samples import DIRECT, OURS, REFERENCE, SHARES, Sample
from tests.benchmarks.examples import CIRCUMSTANCES


def a_sample(
    number: int = 1,
    target: str = OURS,
    *,
    share: float = 0.5,
    p99_us: float = 300.0,
    load_core: float = 0.6,
    reached: float = 1.0,
) -> Sample:
    curve = {name(percentile): 100.0 for percentile in CURVE}
    return Sample(
        number=number,
        share=share,
        target=target,
        rate_per_s=20_000 * share,
        requests=10_000,
        requests_per_s=20_000 * share * reached,
        latency_us={**curve, "p99": p99_us},
        late_us=curve,
        client=0.2,
        load_core=load_core,
    )


def rounds(*ours_us: float, nginx_us: float = 250.0, **changes: float) -> list[Sample]:
    """At every rate; bgproxy's p99 by round, the others' always the same."""
    return [
        a_sample(number, target, share=share, p99_us=p99_us, **changes)
        for number, p99 in enumerate(ours_us, 1)
        for share in SHARES
        for target, p99_us in ((DIRECT, 150.0), (REFERENCE, nginx_us), (OURS, p99))
    ]


def a_result(found: list[Sample]) -> dict[str, Any]:
    return {
        **CIRCUMSTANCES,
        "settings": {
            "rounds": max(each.number for each in found),
            "seconds": 5,
            "connections": 64,
            "nginx_per_s": 20_000.0,
            "proxy_cores": [0],
            "load_cores": [1],
        },
        "summary": samples.summarise(found),
        "samples": [asdict(each) for each in found],
    }
