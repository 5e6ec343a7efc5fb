"""Results of the latency benchmark as Markdown, made from the stored JSON alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import machine
from benchmarks.cpu_report import table
from benchmarks.latency import samples
from benchmarks.latency.percentiles import name
from benchmarks.latency.samples import DIRECT, PROMISED_US, REFERENCE, REPORTED, Verdict

Json = dict[str, Any]


def render(result: Json) -> str:
    settings, summary = result["settings"], result["summary"]
    names = [name(percentile) for percentile in REPORTED]
    lines = [
        "# Latency at a fixed rate",
        "",
        f"**{_verdict(summary)}**",
        "",
        machine.sentence(result),
        "",
        (
            f"Small GET on {settings['connections']} kept-alive connections, sent on a fixed schedule whatever has become "
            "of earlier ones; latency counts from when a request was due (coordinated omission corrected), and every "
            f"request counts. One worker on core {settings['proxy_cores'][0]}, client and backend on core "
            f"{settings['load_cores'][0]}. The rates are shares of the {settings['nginx_per_s']:,.0f} requests/s that nginx "
            f"did in a closed loop in the same run. {settings['rounds']} interleaved rounds of {settings['seconds']} s at "
            "each rate; median (lowest to highest). What a proxy adds is its percentile less that of no proxy at all, "
            "taken within each round."
        ),
        "",
        "Added, µs:",
        "",
        *table(
            ["rate", "requests/s", "proxy", *names],
            [
                [_share(row), f"{row['rate_per_s']:,.0f}", row["target"], *_spreads(row["added_us"])]
                for row in summary
                if row["target"] != DIRECT
            ],
        ),
        "",
        "More than nginx, µs:",
        "",
        *table(
            ["rate", "proxy", *names],
            [
                [_share(row), row["target"], *_spreads(row["beyond_nginx_us"])]
                for row in summary
                if row["target"] not in {DIRECT, REFERENCE}
            ],
        ),
        "",
        (
            "What there is without a proxy, and the client's own part, µs. *Late* is how long after its time a request "
            "was sent; it is in the latency."
        ),
        "",
        *table(
            [
                "rate",
                "target",
                *(f"latency {each}" for each in names),
                *(f"late {each}" for each in names),
                "core",
            ],
            [
                [
                    _share(row),
                    row["target"],
                    *(f"{row['latency_us'][each]['median']:,.0f}" for each in names),
                    *(f"{row['late_us'][each]['median']:,.0f}" for each in names),
                    f"{row['load_core']:.0%}",
                ]
                for row in summary
            ],
        ),
    ]
    doubts = samples.doubts(summary)
    if doubts:
        lines += ["", "Not resolved:", "", *(f"- {each}." for each in doubts)]
    return "\n".join(lines) + "\n"


# Private


def _verdict(summary: Sequence[Json]) -> str:
    found = samples.promised(summary)
    is_open = samples.verdict(summary) is Verdict.OPEN
    why = (
        " The rounds are too few, too far apart or overloaded: a quieter machine is needed."
        if is_open
        else ""
    )
    return (
        f"{samples.verdict(summary).capitalize()}: at half of what nginx can do, bgproxy's added p99 is {found['median'] / 1000:+.2f} ms from nginx's "
        f"({found['low'] / 1000:+.2f} to {found['high'] / 1000:+.2f}); promised is no more than "
        f"{PROMISED_US / 1000:+.1f} ms.{why}"
    )


def _share(row: Json) -> str:
    return f"{row['share']:.0%}"


def _spreads(by_name: Json) -> list[str]:
    return [f"{each['median']:,.0f} ({each['low']:,.0f} to {each['high']:,.0f})" for each in by_name.values()]
