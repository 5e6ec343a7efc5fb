"""The reference of every series, in Markdown, from the series. `docs/reference/metrics.md` is its output.

Adds no fact of its own about a series: what is missing here is missing in `metrics`.
"""

from __future__ import annotations

from typing import Final

from bgproxy.model import Health
from bgproxy.observability import metrics
from bgproxy.shared_memory.counters import Totals
from bgproxy.shared_memory.mirrors import MirrorTotals

_HEAD = """\
# Metrics

Every series of `GET /metrics`, in the Prometheus text format. This page is generated from the series themselves.

A client's request is counted once, for the pool and upstream that answered it last; what failed before that is in
`bgproxy_upstream_failures_total`. Copies for a mirror are in series of their own and in no others. Counters go on when a
worker or the controller is replaced, except that `bgproxy_switches_total` begins anew with the controller.

| series | type | labels | meaning |
|---|---|---|---|
"""

# Of everything one, so that every series and label is there.
ONE_OF_EACH: Final = metrics.Sample(
    generation=1,
    sequence=1,
    unrouted=Totals(),
    accepted=0,
    log_dropped=0,
    services=[
        metrics.ServiceSample(
            service="web",
            canary_weight=0,
            own=Totals(),
            pools=[
                metrics.PoolSample(
                    pool="blue",
                    version="v1",
                    active=True,
                    upstreams=[metrics.UpstreamSample("10.0.0.1:8000", Health.HEALTHY, 1, Totals())],
                )
            ],
            mirror=MirrorTotals(),
        )
    ],
    switches={("switch", "done"): 1},
)


def reference() -> str:
    rows = []
    for family in metrics.families(ONE_OF_EACH):
        names = dict.fromkeys(f"`{sample.name}`" for sample in family.samples)
        labels = dict.fromkeys(f"`{label}`" for sample in family.samples for label in sample.labels)
        rows.append(
            f"| {'<br>'.join(names)} | {family.type} | {', '.join(labels)} | {family.documentation} |"
        )
    return _HEAD + "\n".join(rows) + "\n"
