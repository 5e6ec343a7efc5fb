"""The end of the demonstration: the ledger as numbers for people, and the one sentence that they prove.

Pure. It must never be kinder than the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bgproxy.demo.ledger import NEAR_S, Change, Kind, Ledger, quantile


def rows(ledger: Ledger) -> list[tuple[str, str]]:
    """Label and value of every number that counts."""
    requests = ledger.requests
    errors = ledger.errors()
    near, elsewhere = ledger.latencies()
    acks = sorted(_ack_s(change) for change in ledger.changes if change.kind is Kind.SWITCH)
    posts = sum(request.method == "POST" for request in requests)
    versions = ", ".join(
        f"{version} {count:,}" for version, count in sorted(ledger.per_version(requests).items())
    )
    return [
        ("requests", f"{len(requests):,} ({posts / max(len(requests), 1):.0%} POST); answered by {versions}"),
        ("errors", _count_of(errors, [f"{error.outcome} {error.status or ''}".strip() for error in errors])),
        ("  never answered", str(len(ledger.unanswered()))),
        ("stale answers", f"{len(ledger.stale())} (by a side that traffic had left)"),
        ("POST done twice", str(len(ledger.duplicates()))),
        ("answered, not done", str(len(ledger.unprocessed()))),
        ("lost with the killed worker", f"{len(ledger.lost_in_crash())} (in flight inside it)"),
        ("switches", f"{len(acks)}; acknowledged within p50 {_ms(acks, 0.5)}, max {_ms(acks, 1.0)}"),
        (f"within {NEAR_S * 1000:g} ms of a switch", f"p50 {_ms(near, 0.5)}, p99 {_ms(near, 0.99)}"),
        ("elsewhere", f"p50 {_ms(elsewhere, 0.5)}, p99 {_ms(elsewhere, 0.99)}"),
    ]


def verdict(ledger: Ledger, surprises: Sequence[str]) -> tuple[bool, str]:
    """Whether nothing was lost and everything went as told, in one sentence."""
    faults = {
        "failed": len(ledger.errors()),
        "answered by the wrong side": len(ledger.stale()),
        "done twice": len(ledger.duplicates()),
        "answered but not done": len(ledger.unprocessed()),
    }
    found = [f"{count:,} {what}" for what, count in faults.items() if count]
    if found:
        return False, f"Something was lost: of {len(ledger.requests):,} requests, {', '.join(found)}."
    if not ledger.requests:
        return False, "Nothing is proven: there was no load."
    if surprises:
        return False, f"No request was lost, but not everything went as told: {'; '.join(surprises)}."
    switches = sum(change.kind in {Kind.SWITCH, Kind.HOLD} for change in ledger.changes)
    sentence = f"Nothing was lost: {switches} switches under load, {len(ledger.requests):,} requests"
    gone = len(ledger.lost_in_crash())
    if gone:
        return True, f"{sentence}, and only the {gone} inside the worker that was killed got no answer."
    return True, f"{sentence}, every one answered by the right side."


# Private


def _ack_s(change: Change) -> float:
    return change.acked - change.sent


def _ms(sorted_seconds: list[float], share: float) -> str:
    return f"{quantile(sorted_seconds, share) * 1000:.1f} ms"


def _count_of(found: Sequence[object], kinds: list[str]) -> str:
    if not found:
        return "0"
    return f"{len(found)} ({', '.join(f'{count} {kind}' for kind, count in Counter(kinds).most_common())})"
