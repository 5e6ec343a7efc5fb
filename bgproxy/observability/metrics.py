"""The Prometheus series. Counted once: a client's request is one `bgproxy_requests_total`, for the pool and
upstream that answered it last; what failed before it is in the attempts' own series.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

import bgproxy
from bgproxy.build import COMPILED
from bgproxy.model import Health
from bgproxy.shared_memory.counters import LATENCY_BOUNDS_US, RESPONSE_CLASSES, Totals, WorkerView
from bgproxy.shared_memory.mirrors import MirrorTotals

_POOL: Final = ("service", "pool")
_UPSTREAM: Final = (*_POOL, "upstream")


@dataclass(frozen=True, slots=True)
class UpstreamSample:
    upstream: str
    health: Health
    weight: int
    totals: Totals


@dataclass(frozen=True, slots=True)
class PoolSample:
    pool: str
    version: str
    active: bool
    upstreams: list[UpstreamSample]


@dataclass(frozen=True, slots=True)
class ServiceSample:
    service: str
    canary_weight: int
    own: Totals  # what the proxy answered itself
    pools: list[PoolSample]
    mirror: MirrorTotals | None = None  # if it has one
    in_maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything at one moment, read for one scrape."""

    generation: int
    sequence: int
    unrouted: Totals
    accepted: int
    log_dropped: int
    services: list[ServiceSample]
    workers: list[WorkerView] = field(default_factory=list)
    switches: dict[tuple[str, str], int] = field(default_factory=dict)  # (action, outcome): count


def render(sample: Callable[[], Sample]) -> bytes:
    """The text exposition format of what `sample` reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(sample))
    return generate_latest(registry)


def families(sample: Sample) -> list[Metric]:
    """Everything that is told of `sample`, in the order in which it is."""
    return list(_families(sample))


class _Collector(Collector):
    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample

    def collect(self) -> Iterable[Metric]:
        return _families(self._sample())


def _families(sample: Sample) -> Iterator[Metric]:
    about = {"version": bgproxy.__version__, "compiled": str(COMPILED).lower()}
    yield InfoMetricFamily("bgproxy", "The running program.", value=about)
    yield GaugeMetricFamily("bgproxy_generation", "Generation of the desired state.", value=sample.generation)
    yield GaugeMetricFamily("bgproxy_snapshot_sequence", "Snapshots published so far.", value=sample.sequence)
    yield from _switch_families(sample)
    yield from _worker_families(sample)
    yield from _pool_families(sample)
    yield from _request_families(sample)
    yield from _upstream_families(sample)
    yield from _mirror_families(sample)


def _switch_families(sample: Sample) -> Iterator[Metric]:
    switches = CounterMetricFamily(
        "bgproxy_switches",
        "Switches and rollbacks since the controller started.",
        labels=("action", "outcome"),
    )
    for (action, outcome), count in sample.switches.items():
        switches.add_metric((action, outcome), count)
    yield switches


def _worker_families(sample: Sample) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "bgproxy_workers", "Workers alive, draining ones included.", value=len(sample.workers)
    )
    yield GaugeMetricFamily(
        "bgproxy_client_connections",
        "Clients connected.",
        value=sum(each.connections for each in sample.workers),
    )
    yield CounterMetricFamily(
        "bgproxy_client_connections_accepted", "Clients accepted.", value=sample.accepted
    )
    yield GaugeMetricFamily(
        "bgproxy_held_requests",
        "Requests that a hold keeps parked now.",
        value=sum(each.parked for each in sample.workers),
    )
    yield CounterMetricFamily(
        "bgproxy_access_log_lines_dropped",
        "Lines of the access log that are lost: the file or pipe failed, or did not take them in time.",
        value=sample.log_dropped,
    )


def _pool_families(sample: Sample) -> Iterator[Metric]:
    active = GaugeMetricFamily("bgproxy_pool_active", "1 for the active pool.", labels=(*_POOL, "version"))
    share = GaugeMetricFamily("bgproxy_pool_weight_percent", "Share of new requests.", labels=_POOL)
    maintenance = GaugeMetricFamily(
        "bgproxy_maintenance", "1 while every request but previews gets a 503.", labels=("service",)
    )
    for service in sample.services:
        for pool in service.pools:
            active.add_metric((service.service, pool.pool, pool.version), int(pool.active))
            canary = service.canary_weight
            share.add_metric((service.service, pool.pool), 100 - canary if pool.active else canary)
        maintenance.add_metric((service.service,), int(service.in_maintenance))
    yield active
    yield share
    yield maintenance


def _request_families(sample: Sample) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "bgproxy_requests",
        "Requests of clients by status class; none: the client left. No upstream: answered by bgproxy itself.",
        labels=(*_UPSTREAM, "status"),
    )
    latency = HistogramMetricFamily(
        "bgproxy_request_duration_seconds", "From the request's head to the response's end.", labels=_POOL
    )
    held = CounterMetricFamily(
        "bgproxy_requests_held", "Requests that were parked by a hold.", labels=("service",)
    )
    queued = GaugeMetricFamily(
        "bgproxy_queued_requests", "Requests that wait until an upstream has room.", labels=("service",)
    )
    for status, count in zip(RESPONSE_CLASSES, sample.unrouted.responses, strict=True):
        requests.add_metric(("", "", "", status), count)
    for service in sample.services:
        for status, count in zip(RESPONSE_CLASSES, service.own.responses, strict=True):
            requests.add_metric((service.service, "", "", status), count)
        for pool in service.pools:
            total = Totals()
            for upstream in pool.upstreams:
                total.merge(upstream.totals)
                for status, count in zip(RESPONSE_CLASSES, upstream.totals.responses, strict=True):
                    requests.add_metric((service.service, pool.pool, upstream.upstream, status), count)
            bounds = [*(f"{bound / 1e6:g}" for bound in LATENCY_BOUNDS_US), "+Inf"]
            buckets = list(zip(bounds, map(float, itertools.accumulate(total.latency)), strict=True))
            latency.add_metric((service.service, pool.pool), buckets, total.duration_us / 1e6)
        held.add_metric((service.service,), service.own.held)
        queued.add_metric((service.service,), service.own.queued)
    yield requests
    yield latency
    yield held
    yield queued


def _upstream_families(sample: Sample) -> Iterator[Metric]:
    healthy = GaugeMetricFamily(
        "bgproxy_upstream_healthy", "1 healthy, 0 unhealthy, -1 not checked yet.", labels=_UPSTREAM
    )
    weight = GaugeMetricFamily("bgproxy_upstream_weight", "Weight within its pool.", labels=_UPSTREAM)
    in_flight = GaugeMetricFamily("bgproxy_requests_in_flight", "Requests under way.", labels=_UPSTREAM)
    tunnels = GaugeMetricFamily("bgproxy_tunnels", "Upgraded connections.", labels=_UPSTREAM)
    idle = GaugeMetricFamily(
        "bgproxy_idle_connections", "Connections in the keepalive cache.", labels=_UPSTREAM
    )
    failures = CounterMetricFamily(
        "bgproxy_upstream_failures", "Attempts that failed, by kind.", labels=(*_UPSTREAM, "kind")
    )
    retried = CounterMetricFamily(
        "bgproxy_upstream_retries", "Failed attempts tried elsewhere.", labels=_UPSTREAM
    )
    ejected = GaugeMetricFamily(
        "bgproxy_upstream_ejected",
        "Workers that send it nothing for now, because requests failed there.",
        labels=_UPSTREAM,
    )
    ejections = CounterMetricFamily(
        "bgproxy_upstream_ejections", "Times that a worker ejected it.", labels=_UPSTREAM
    )
    codes = {Health.HEALTHY: 1, Health.UNHEALTHY: 0, Health.UNKNOWN: -1}
    for service in sample.services:
        for pool in service.pools:
            for each in pool.upstreams:
                labels = (service.service, pool.pool, each.upstream)
                healthy.add_metric(labels, codes[each.health])
                weight.add_metric(labels, each.weight)
                in_flight.add_metric(labels, each.totals.in_flight)
                tunnels.add_metric(labels, each.totals.tunnels)
                idle.add_metric(labels, each.totals.idle)
                retried.add_metric(labels, each.totals.retried)
                ejected.add_metric(labels, each.totals.ejected)
                ejections.add_metric(labels, each.totals.ejections)
                for kind in ("connect_failed", "reset", "timed_out", "invalid"):
                    failures.add_metric((*labels, kind), getattr(each.totals, kind))
    yield from (healthy, weight, in_flight, tunnels, idle, failures, retried, ejected, ejections)


def _mirror_families(sample: Sample) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "bgproxy_mirror_requests",
        "Copies of requests that were sent to the idle pool, by what a comparison of the answers has shown.",
        labels=("service", "result"),
    )
    left_out = CounterMetricFamily(
        "bgproxy_mirror_left_out",
        "Requests that were not copied: nobody was healthy, or too many copies were under way.",
        labels=("service",),
    )
    differences = CounterMetricFamily(
        "bgproxy_mirror_differences",
        "Differences by what differs; one request may have several.",
        labels=("service", "what"),
    )
    failures = CounterMetricFamily(
        "bgproxy_mirror_failures", "Copies that were not answered, by kind.", labels=("service", "kind")
    )
    for service in sample.services:
        mirror = service.mirror
        if mirror is None:
            continue
        name = service.service
        for result in ("same", "different", "failed", "uncompared"):
            requests.add_metric((name, result), getattr(mirror, result))
        left_out.add_metric((name,), mirror.left_out)
        differences.add_metric((name, "status"), mirror.status_differs)
        differences.add_metric((name, "headers"), mirror.headers_differ)
        differences.add_metric((name, "body"), mirror.body_differs)
        for kind in ("connect_failed", "reset", "timed_out", "invalid"):
            failures.add_metric((name, kind), getattr(mirror, kind))
    yield from (requests, left_out, differences, failures)
