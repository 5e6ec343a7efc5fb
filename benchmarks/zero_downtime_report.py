"""The ledger of a run with switches as numbers and as Markdown. Pure; it must never be kinder than the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from benchmarks import machine
from benchmarks.cpu_report import table
from bgproxy.demo.ledger import NEAR_S, Ledger, Request, quantile

LATENCY_SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
SWITCH_SHARES: Final = {"p50": 0.5, "p90": 0.9, "max": 1.0}  # of too few for more

Json = dict[str, Any]


class Switch(NamedTuple):
    """One switch as its caller saw it; `sync_s` is the part in which the state store wrote and synced."""

    to: str
    sent: float
    acked: float
    sync_s: float


def facts(ledger: Ledger, switches: Sequence[Switch], verdict: str) -> Json:
    """Everything that the report says, and no more, as JSON."""
    errors = ledger.errors()
    near, elsewhere = ledger.latencies()
    began = min((request.started for request in ledger.requests), default=0.0)
    return {
        "verdict": verdict,
        "requests": len(ledger.requests),
        "posts": sum(request.method == "POST" for request in ledger.requests),
        "answered_by": dict(sorted(ledger.per_version(ledger.requests).items())),
        "failures": len(errors),
        "failure_kinds": dict(Counter(f"{each.outcome} {each.status or ''}".strip() for each in errors)),
        "stale": len(ledger.stale()),
        "posts_done_twice": len(ledger.duplicates()),
        "answered_not_done": len(ledger.unprocessed()),
        "near_ms": NEAR_S * 1000,
        "latency_ms": {
            "near": percentiles_ms(near, LATENCY_SHARES),
            "elsewhere": percentiles_ms(elsewhere, LATENCY_SHARES),
        },
        "acknowledgement_ms": {
            name: percentiles_ms(seconds, SWITCH_SHARES)
            for name, seconds in (
                ("as the caller sees it", [each.acked - each.sent for each in switches]),
                ("of it, disk sync", [each.sync_s for each in switches]),
                ("beyond the disk sync", [each.acked - each.sent - each.sync_s for each in switches]),
            )
        },
        "switches": [
            {
                "at_s": round(each.sent - began, 4),
                "to": each.to,
                "acknowledgement_ms": round((each.acked - each.sent) * 1000, 3),
                "sync_ms": round(each.sync_s * 1000, 3),
            }
            for each in switches
        ],
    }


def percentiles_ms(seconds: Iterable[float], shares: dict[str, float]) -> Json:
    """Count and percentiles in milliseconds; None where there is nothing to take them from."""
    values = sorted(seconds)
    found: Json = {"count": len(values)}
    for name, share in shares.items():
        found[name] = round(quantile(values, share) * 1000, 3) if values else None
    return found


def name(result: Json) -> str:
    """Of the files with this result."""
    return "zero-downtime-tls" if result["settings"].get("tls") else "zero-downtime"


def render(result: Json) -> str:
    """The report of a stored result."""
    settings, latency = result["settings"], result["latency_ms"]
    kinds = "".join(f", {count} {kind}" for kind, count in result["failure_kinds"].items())
    versions = ", ".join(f"{version} {count:,}" for version, count in result["answered_by"].items())
    through = " through TLS" if settings.get("tls") else ""
    near = f"within {result['near_ms']:g} ms of a switch"
    counts = [
        ["requests", f"{result['requests']:,}"],
        ["of them POST", f"{result['posts']:,}"],
        ["answered by", versions],
        ["failures", f"{result['failures']}{kinds}"],
        ["stale: started after the acknowledgement, answered by the old side", str(result["stale"])],
        ["POST done twice", str(result["posts_done_twice"])],
        ["answered, but not done", str(result["answered_not_done"])],
    ]
    method = (
        f"{settings['clients']} closed-loop clients{through}, {settings['think_s'] * 1000:g} ms between answer and next "
        f"request, for {settings['seconds']:g} s; {settings['workers']} workers; "
        f"{settings['upstreams_per_side']} upstreams on each side; {settings['switches']} switches at random "
        "moments. Clients, apps and bgproxy share the machine. Nothing is retried by the clients, and every "
        "answer is checked."
    )
    lines = [
        f"# Zero downtime: switches under load{through}",
        "",
        f"**{result['verdict']}**",
        "",
        machine.sentence(result),
        "",
        method,
        "",
        *table(["", "count"], counts),
        "",
        *_percentile_table("latency, ms", {near: latency["near"], "elsewhere": latency["elsewhere"]}),
        "",
        *_percentile_table("switch acknowledged, ms", result["acknowledgement_ms"]),
        "",
        f"![Latency and answering side over time]({name(result)}.png)",
    ]
    return "\n".join(lines) + "\n"


def per_bin(
    requests: Iterable[Request], version: str, begin: float, bins: int, width_s: float
) -> list[float]:
    """Answers of `version` per second, for each of the `bins` from `begin` on."""
    counts = [0] * bins
    for request in requests:
        index = int((request.ended - begin) // width_s)
        if request.version == version and 0 <= index < bins:
            counts[index] += 1
    return [count / width_s for count in counts]


# Private


def _percentile_table(title: str, rows: dict[str, Json]) -> list[str]:
    header = [title, *next(iter(rows.values()))]
    return table(
        header,
        [
            [name, f"{values['count']:,}", *(_milliseconds(values[share]) for share in header[2:])]
            for name, values in rows.items()
        ],
    )


def _milliseconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
