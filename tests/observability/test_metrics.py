from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

import bgproxy
from bgproxy.model import Health
from bgproxy.observability import metrics
from bgproxy.observability.metrics import PoolSample, Sample, ServiceSample, UpstreamSample
from bgproxy.shared_memory.counters import LATENCY_BOUNDS_US, Totals, WorkerView, bucket_of
from bgproxy.shared_memory.mirrors import MirrorTotals
from tests.support.build import COMPILED

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def totals(*, fast: int = 0, slow: int = 0, errors: int = 0, **sums: int) -> Totals:
    found = Totals()
    for name, value in sums.items():
        setattr(found, name, value)
    found.responses[2], found.responses[5] = fast + slow - errors, errors
    found.latency[bucket_of(1_000)] = fast
    found.latency[bucket_of(50_000)] = slow
    found.duration_us = fast * 1_000 + slow * 50_000
    return found


def read(sample: Sample) -> Series:
    text = metrics.render(lambda: sample).decode()
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def get(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


def sum_of(series: Series, name: str, **labels: str) -> float:
    return sum(
        value for (each, found), value in series.items() if each == name and labels.items() <= set(found)
    )


BLUE = PoolSample(
    "blue",
    "v1",
    True,
    [
        UpstreamSample(
            "10.0.0.1:80",
            Health.HEALTHY,
            2,
            totals(fast=8, slow=2, errors=1, in_flight=3, idle=4, retried=5, reset=6, ejected=1, ejections=8),
        ),
        UpstreamSample("10.0.0.2:80", Health.UNHEALTHY, 1, totals(fast=10, connect_failed=7, tunnels=1)),
    ],
)
GREEN = PoolSample("green", "v2", False, [UpstreamSample("10.0.1.1:80", Health.UNKNOWN, 1, Totals())])
WEB = ServiceSample("web", 25, totals(errors=3, fast=3, held=9, queued=2), [BLUE, GREEN])
WORKER = WorkerView(0, 1, False, 1, connections=5, accepted=6, parked=7, overflowed=0, starts=1)
SAMPLE = Sample(4, 17, totals(fast=2), 600, 11, [WEB], [WORKER, WORKER], {("switch", "done"): 3})


def test_a_request_is_counted_once() -> None:
    series = read(SAMPLE)
    assert sum_of(series, "bgproxy_requests_total") == 10 + 10 + 3 + 2
    assert sum_of(series, "bgproxy_requests_total", pool="blue") == 20
    labels = {"service": "web", "pool": "blue", "upstream": "10.0.0.1:80"}
    assert get(series, "bgproxy_requests_total", **labels, status="2xx") == 9
    assert get(series, "bgproxy_requests_total", **labels, status="5xx") == 1


def test_what_bgproxy_answered_itself_has_no_upstream() -> None:
    series = read(SAMPLE)
    assert get(series, "bgproxy_requests_total", service="web", pool="", upstream="", status="5xx") == 3
    assert get(series, "bgproxy_requests_total", service="", pool="", upstream="", status="2xx") == 2


def test_attempts_have_series_of_their_own() -> None:
    series = read(SAMPLE)
    first = {"service": "web", "pool": "blue", "upstream": "10.0.0.1:80"}
    second = {**first, "upstream": "10.0.0.2:80"}
    assert get(series, "bgproxy_upstream_failures_total", **first, kind="reset") == 6
    assert get(series, "bgproxy_upstream_failures_total", **second, kind="connect_failed") == 7
    assert get(series, "bgproxy_upstream_retries_total", **first) == 5


def test_copies_of_requests_have_series_of_their_own() -> None:
    mirror = MirrorTotals(mirrored=20, same=10, different=4, failed=3, uncompared=2, left_out=5)
    mirror.status_differs, mirror.body_differs, mirror.timed_out = 1, 3, 3
    series = read(replace(SAMPLE, services=[replace(WEB, mirror=mirror)]))
    name = "bgproxy_mirror_requests_total"
    results = ("same", "different", "failed", "uncompared")
    assert [get(series, name, service="web", result=result) for result in results] == [10, 4, 3, 2]
    assert get(series, "bgproxy_mirror_left_out_total", service="web") == 5
    assert get(series, "bgproxy_mirror_differences_total", service="web", what="status") == 1
    assert get(series, "bgproxy_mirror_differences_total", service="web", what="body") == 3
    assert get(series, "bgproxy_mirror_failures_total", service="web", kind="timed_out") == 3
    assert sum_of(series, "bgproxy_requests_total") == sum_of(read(SAMPLE), "bgproxy_requests_total")


def test_a_service_without_a_mirror_has_no_such_series() -> None:
    assert not [name for name, _ in read(SAMPLE) if name.startswith("bgproxy_mirror")]


def test_a_service_in_maintenance_says_so() -> None:
    series = read(replace(SAMPLE, services=[replace(WEB, in_maintenance=True)]))
    assert get(series, "bgproxy_maintenance", service="web") == 1


def test_a_histogram_is_cumulative_and_in_seconds() -> None:
    series = read(SAMPLE)
    name, labels = "bgproxy_request_duration_seconds", {"service": "web", "pool": "blue"}
    assert get(series, f"{name}_bucket", **labels, le="0.0008") == 0
    assert get(series, f"{name}_bucket", **labels, le="0.001") == 18
    assert get(series, f"{name}_bucket", **labels, le="0.06") == 20
    assert get(series, f"{name}_bucket", **labels, le="+Inf") == 20
    assert get(series, f"{name}_count", **labels) == 20
    assert abs(get(series, f"{name}_sum", **labels) - (0.018 + 0.1)) < 1e-9
    bounds = [key for key, _ in series if key == f"{name}_bucket"]
    assert len(bounds) == 2 * (len(LATENCY_BOUNDS_US) + 1)


def test_pools_tell_their_share_and_role() -> None:
    series = read(SAMPLE)
    assert get(series, "bgproxy_pool_active", service="web", pool="blue", version="v1") == 1
    assert get(series, "bgproxy_pool_active", service="web", pool="green", version="v2") == 0
    assert get(series, "bgproxy_pool_weight_percent", service="web", pool="blue") == 75
    assert get(series, "bgproxy_pool_weight_percent", service="web", pool="green") == 25


def test_health_has_three_values() -> None:
    series = read(SAMPLE)
    healths = {
        dict(labels)["upstream"]: value
        for (name, labels), value in series.items()
        if name == "bgproxy_upstream_healthy"
    }
    assert healths == {"10.0.0.1:80": 1, "10.0.0.2:80": 0, "10.0.1.1:80": -1}


def test_gauges_of_workers_upstreams_and_state() -> None:
    series = read(SAMPLE)
    upstream = {"service": "web", "pool": "blue", "upstream": "10.0.0.1:80"}
    expected = {
        "bgproxy_generation": 4,
        "bgproxy_snapshot_sequence": 17,
        "bgproxy_workers": 2,
        "bgproxy_client_connections": 10,
        "bgproxy_client_connections_accepted_total": 600,
        "bgproxy_held_requests": 14,
        "bgproxy_access_log_lines_dropped_total": 11,
    }
    assert {name: get(series, name) for name in expected} == expected
    assert get(series, "bgproxy_requests_in_flight", **upstream) == 3
    assert get(series, "bgproxy_idle_connections", **upstream) == 4
    assert get(series, "bgproxy_upstream_weight", **upstream) == 2
    assert sum_of(series, "bgproxy_tunnels") == 1
    assert get(series, "bgproxy_upstream_ejected", **upstream) == 1
    assert get(series, "bgproxy_upstream_ejections_total", **upstream) == 8
    assert get(series, "bgproxy_queued_requests", service="web") == 2
    assert get(series, "bgproxy_maintenance", service="web") == 0
    assert get(series, "bgproxy_requests_held_total", service="web") == 9
    assert get(series, "bgproxy_switches_total", action="switch", outcome="done") == 3
    assert get(series, "bgproxy_info", version=bgproxy.__version__, compiled=str(COMPILED).lower()) == 1


def test_names_with_special_characters_stay_what_they_are() -> None:
    odd = 'v"1"\\\n'
    series = read(replace(SAMPLE, services=[replace(WEB, pools=[replace(GREEN, version=odd)])]))
    assert get(series, "bgproxy_pool_active", service="web", pool="green", version=odd) == 0


def test_every_series_has_a_help_text_and_the_prefix() -> None:
    families: Iterable[object] = metrics.families(SAMPLE)
    assert families
    for family in metrics.families(SAMPLE):
        assert family.name.startswith("bgproxy")
        assert family.documentation.endswith(".")


def test_the_sample_is_read_once_for_each_scrape() -> None:
    reads = []

    def sample() -> Sample:
        reads.append(1)
        return SAMPLE

    metrics.render(sample)
    assert len(reads) == 1
