"""Services and snapshots of any shape."""

from __future__ import annotations

from math import inf

from hypothesis import strategies as st

from bgproxy.model import (
    Balance,
    Canary,
    Certificate,
    ErrorPage,
    Health,
    Hold,
    Limits,
    Maintenance,
    Match,
    Mirror,
    Policy,
    PoolView,
    Preview,
    Protocol,
    Retries,
    ServiceView,
    Snapshot,
    Sticky,
    Timeouts,
    UpstreamTls,
    UpstreamView,
    WhenUnhealthy,
)
from tests.support.views import service_view

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_count = st.integers(0, 2**32)
_tag = st.integers(0, 2**64 - 1)
_seconds = st.floats(min_value=0, allow_nan=False, allow_infinity=False, max_value=1e300)
_duration = _seconds | st.just(inf)
_texts = st.lists(_text, max_size=3).map(tuple)

_upstreams = st.builds(
    UpstreamView,
    name=_text,
    address=_text,
    weight=_count,
    health=st.sampled_from(Health),
    slot=_count,
    tag=_tag,
)
_pools = st.builds(PoolView, name=_text, version=_text, upstreams=st.lists(_upstreams, max_size=3).map(tuple))
_matches = st.lists(st.builds(Match, kind=_text, name=_text, value=_text), max_size=2).map(tuple)

_policies = st.builds(
    Policy,
    balance=st.sampled_from(Balance),
    when_unhealthy=st.sampled_from(WhenUnhealthy),
    timeouts=st.builds(
        Timeouts,
        connect_s=_duration,
        request_head_s=_duration,
        request_body_s=_duration,
        response_head_s=_duration,
        idle_s=_duration,
        total_s=_duration,
    ),
    retries=st.builds(Retries, attempts=_count, budget=_seconds),
    sticky=st.none() | st.builds(Sticky, cookie=st.none() | _text, header=st.none() | _text, ttl_s=_seconds),
    preview=st.builds(Preview, hosts=_texts, header=st.none() | _text, secret=st.none() | _text),
    limits=st.builds(Limits, request_body_bytes=st.none() | _count, queue=_count, queue_timeout_s=_duration),
    upstream_tls=st.none()
    | st.builds(UpstreamTls, certificate=st.none() | st.builds(Certificate, cert=_text, key=_text)),
    mirror=st.none() | st.builds(Mirror, share=_seconds, ignore_json=_texts),
    error_pages=st.lists(
        st.builds(
            ErrorPage, statuses=st.lists(_count, max_size=2).map(tuple), content_type=_text, body=_text
        ),
        max_size=2,
    ).map(tuple),
)
services = st.builds(
    ServiceView,
    name=_text,
    slot=_count,
    tag=_tag,
    hosts=_texts,
    paths=_texts,
    active=_pools,
    idle=_pools,
    policy=_policies,
    protocol=st.sampled_from(Protocol),
    canary=st.none() | st.builds(Canary, weight=_count, match=_matches, salt=_text),
    maintenance=st.none() | st.builds(Maintenance, retry_after_s=_count, reason=_text),
    hold=st.none() | st.builds(Hold, id=_count, until=_seconds, max_requests=_count, max_bytes=_count),
    drain_until=st.none() | _duration,
)
snapshots = st.builds(
    Snapshot,
    generation=_tag,
    services=st.lists(services, max_size=4, unique_by=lambda service: service.name).map(tuple),
)


def snapshot_of(services: dict[str, int]) -> Snapshot:
    """Small services: name and slot."""
    pool = PoolView("blue", "v1", (UpstreamView("a", "10.0.0.1:80", 1, Health.HEALTHY, 1, 1),))
    return Snapshot(
        generation=1,
        services=tuple(
            service_view(
                name=name,
                slot=slot,
                tag=1,
                hosts=(),
                paths=("/",),
                active=pool,
                idle=pool,
            )
            for name, slot in services.items()
        ),
    )
