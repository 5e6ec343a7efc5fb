"""What is promised of bgproxy's cutover, and which of a result's figures break or fail to show it. Pure."""

from __future__ import annotations

from typing import Any, Final

REQUESTS: Final = 1_000_000
SWITCHES: Final = 100
POST_SHARE: Final = 0.495  # half of them, give or take what was on its way when the load ended
BEYOND_DISK_P50_MS: Final = 1.0
BEYOND_DISK_MAX_MS: Final = 10.0

Json = dict[str, Any]


def lost(facts: Json) -> list[str]:
    """What no run may show, however short."""
    return [
        f"{count:,} {what}"
        for what, count in (
            ("failed", facts["errors"]),
            ("stale", facts["stale"]),
            ("POST done twice", facts["posts_done_twice"]),
            ("answered but not done", facts["answered_not_done"]),
        )
        if count
    ]


def judge(facts: Json) -> list[tuple[str, str, str, bool]]:
    """Of a long run: each promise, what is promised, what was measured, whether it is kept."""
    latency = facts["latency_ms"]
    beyond_ms = beyond_disk_ms(facts)
    near_ms, noise_ms = latency["near"]["p99"], latency["noise"][1]
    posts = facts["posts"] / max(facts["requests"], 1)
    switches = facts["acknowledged_ms"]["count"]
    # Which commit was slow, only bgproxy knows of its own.
    longest_ms = facts["beyond_own_sync_ms"]["max"]
    return [
        ("requests", f"≥ {REQUESTS:,}", f"{facts['requests']:,}", facts["requests"] >= REQUESTS),
        ("of them POST", "half", f"{posts:.1%}", posts >= POST_SHARE),
        ("switches", f"≥ {SWITCHES}", f"{switches}", switches >= SWITCHES),
        ("failed requests", "0", f"{facts['errors']}", not facts["errors"]),
        ("stale requests", "0", f"{facts['stale']}", not facts["stale"]),
        ("POST done twice", "0", f"{facts['posts_done_twice']}", not facts["posts_done_twice"]),
        ("answered, but not done", "0", f"{facts['answered_not_done']}", not facts["answered_not_done"]),
        (
            "acknowledged, p50 beyond that of the disk's commit",
            f"< {BEYOND_DISK_P50_MS:g} ms",
            _ms(beyond_ms),
            beyond_ms is not None and beyond_ms < BEYOND_DISK_P50_MS,
        ),
        (
            "acknowledged, max beyond bgproxy's own sync",
            f"< {BEYOND_DISK_MAX_MS:g} ms",
            _ms(longest_ms),
            longest_ms is not None and longest_ms < BEYOND_DISK_MAX_MS,
        ),
        (
            "p99 near a switch",
            f"≤ {_ms(noise_ms)}, the upper end of the noise",
            _ms(near_ms),
            None not in {near_ms, noise_ms} and near_ms <= noise_ms,
        ),
    ]


def beyond_disk_ms(facts: Json) -> float | None:
    """The median acknowledgement less the median commit; None if one of them was not measured."""
    acknowledged, commit = facts["acknowledged_ms"]["p50"], facts["commit_ms"]["p50"]
    return None if acknowledged is None or commit is None else acknowledged - commit


# Private


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} ms"
