"""The stored result as Markdown, made from it alone. It must never leave out a failure or a proxy."""

from __future__ import annotations

from typing import Any

from benchmarks import machine
from benchmarks.cpu_report import table
from benchmarks.cutover import budgets, cpu, near
from bgproxy.demo.ledger import NEAR_S

Json = dict[str, Any]


def name(result: Json) -> str:
    """Of the files with this result."""
    return "cutover-long" if result["settings"]["requests"] else "cutover"


def render(result: Json) -> str:
    is_long = bool(result["settings"]["requests"])
    lines = [
        "# Cutover: bgproxy's budget" if is_long else "# Cutover: bgproxy beside its peers",
        "",
        f"**{verdict(result)}**",
        "",
        machine.sentence(result),
        "",
        _method(result["settings"]),
        "",
        *(_budget(result) if is_long else _peers(result)),
        "",
        *_acknowledgements(result),
        "",
        *_latencies(result),
        "",
        *_disk(result),
        f"![What clients got around a switch]({name(result)}.png)",
    ]
    return "\n".join(lines) + "\n"


def verdict(result: Json) -> str:
    """In one sentence, of bgproxy if it ran, or of whoever did."""
    proxies = result["proxies"]
    if result["settings"]["requests"]:
        broken = [promise for promise, _, _, is_kept in budgets.judge(proxies["bgproxy"]) if not is_kept]
        return f"Not kept or not shown: {'; '.join(broken)}." if broken else "Every promise is kept."
    return " ".join(
        f"{each}: {', '.join(budgets.lost(facts)) or 'nothing lost, nothing stale'}."
        for each, facts in proxies.items()
    )


# Private


def _method(settings: Json) -> str:
    length = (
        f"for {settings['requests']:,} requests"
        if settings["requests"]
        else f"for {settings['seconds']:g} s on one proxy after the other"
    )
    return (
        f"{settings['clients']} closed-loop clients on kept-alive connections, half of their requests POST, "
        f"{settings['think_s'] * 1000:g} ms between answer and next request, {length}; "
        f"{settings['workers']} workers or threads; {settings['upstreams_per_side']} apps on each side; "
        f"{settings['switches']} switches at random moments, at least {settings['gap_s']:g} s apart. Clients, "
        "apps and proxy share the machine. Clients retry nothing and check every answer. A switch is *acknowledged* when the "
        "proxy's own command or call has returned; a request is *stale* if it started after that and was answered by "
        "the old side. GET `/slow`, in flight for 100 ms on purpose, counts for everything but times."
    )


def _peers(result: Json) -> list[str]:
    proxies = result["proxies"]
    losses = table(
        ["", "requests", "failed", "kinds", "stale", "POST twice"],
        [
            [
                f"{each} {facts['version']}",
                f"{facts['requests']:,}",
                f"{facts['errors']:,}",
                ", ".join(f"{count} {kind}" for kind, count in facts["error_kinds"].items()),
                f"{facts['stale']:,}",
                f"{facts['posts_done_twice']:,}",
            ]
            for each, facts in proxies.items()
        ],
    )
    ways = [f"- **{each}**: {facts['way']}." for each, facts in proxies.items()]
    return [*losses, "", "What is called to switch:", "", *ways]


def _budget(result: Json) -> list[str]:
    return table(
        ["promise", "promised", "measured", "kept"],
        [
            [promise, promised, measured, "yes" if is_kept else "**no**"]
            for promise, promised, measured, is_kept in budgets.judge(result["proxies"]["bgproxy"])
        ],
    )


def _acknowledgements(result: Json) -> list[str]:
    header = [
        "ms from the start of the command",
        "ack p50",
        "ack max",
        "last old answer p50",
        "max",
        "CPU of a switch",
    ]
    rows = [
        [
            each,
            *(_ms(facts["acknowledged_ms"][share]) for share in ("p50", "max")),
            *(_ms(facts["last_old_ms"][share]) for share in ("p50", "max")),
            _ms(facts["cpu_ms"]),
        ]
        for each, facts in result["proxies"].items()
    ]
    about = (
        f"CPU is that of all processes of the proxy and of its command, in ms: the mean of {cpu.SWITCHES} more switches after the "
        "load, less what it takes when nothing happens. "
        "Last old answer: 0 if none came after the command had begun."
    )
    return [*table(header, rows), "", about]


def _latencies(result: Json) -> list[str]:
    header = [
        "latency, ms",
        f"p50 near, within {NEAR_S * 1000:g} ms",
        "p50 elsewhere",
        "p99 near",
        "p99 elsewhere",
        "noise of p99",
        "max near",
    ]
    rows = []
    for each, facts in result["proxies"].items():
        close, far, noise = (facts["latency_ms"][key] for key in ("near", "elsewhere", "noise"))
        rows.append(
            [
                each,
                *(_ms(value) for value in (close["p50"], far["p50"], close["p99"], far["p99"])),
                f"{_ms(noise[0])} to {_ms(noise[1])}",
                _ms(close["max"]),
            ]
        )
    about = (
        f"Noise: where {near.NOISE[1] - near.NOISE[0]:.0%} of the p99 lie if as many requests are drawn, "
        f"{near.BLOCK_S * 1000:g} ms at a time, from elsewhere. Failed requests have no latency."
    )
    return [*table(header, rows), "", about]


def _disk(result: Json) -> list[str]:
    facts = result["proxies"].get("bgproxy")
    if facts is None:
        return []
    rows = {
        "acknowledged, as the caller sees it": facts["acknowledged_ms"],
        "of it, written and synced, as bgproxy says": facts["own_sync_ms"],
        "the rest": facts["beyond_own_sync_ms"],
        "a call that changes nothing, GET /healthz": facts["empty_call_ms"],
        "the same commit by SQLite itself": facts["commit_ms"],
    }
    beyond_ms = budgets.beyond_disk_ms(facts)
    about = (
        "bgproxy acknowledges what is on the disk; no other proxy here keeps the switch in a synced file. "
        "The commits, each with the statements and bytes of bgproxy's for a switch, and the calls that change nothing, on new "
        "connections like the switches, were made half way between the switches, on the same disk and under the same "
        "load; requests near them count for everything but latency. "
        f"Acknowledged beyond such a commit: {_ms(beyond_ms)} ms at the median."
    )
    return [
        *table(
            ["bgproxy's switch, ms", "count", "p50", "p90", "max"],
            [
                [each, f"{values['count']}", *(_ms(values[share]) for share in ("p50", "p90", "max"))]
                for each, values in rows.items()
            ],
        ),
        "",
        about,
        "",
    ]


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
