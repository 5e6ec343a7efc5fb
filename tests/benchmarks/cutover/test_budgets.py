from typing import Any

import pytest

from benchmarks.cutover import budgets


def facts(**other: Any) -> dict[str, Any]:
    """Everything is kept, and only just."""
    return {
        "requests": 1_000_000,
        "posts": 500_000,
        "errors": 0,
        "stale": 0,
        "posts_done_twice": 0,
        "answered_not_done": 0,
        "acknowledged_ms": {"count": 100, "p50": 2.9},
        "beyond_own_sync_ms": {"max": 9.9},
        "commit_ms": {"count": 100, "p50": 2.0},
        "latency_ms": {"near": {"p99": 3.0}, "elsewhere": {"p99": 2.0}, "noise": [1.0, 3.0]},
        **other,
    }


def broken(found: dict[str, Any]) -> list[str]:
    return [promise for promise, _, _, is_kept in budgets.judge(found) if not is_kept]


def test_a_run_that_keeps_every_promise_is_told_so() -> None:
    assert broken(facts()) == []
    assert budgets.lost(facts()) == []


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("requests", {"requests": 999_999}),
        ("of them POST", {"posts": 400_000}),
        ("switches", {"acknowledged_ms": {"count": 99, "p50": 2.9}}),
        ("failed requests", {"errors": 1}),
        ("stale requests", {"stale": 1}),
        ("POST done twice", {"posts_done_twice": 1}),
        ("answered, but not done", {"answered_not_done": 1}),
        (
            "acknowledged, p50 beyond that of the disk's commit",
            {"acknowledged_ms": {"count": 100, "p50": 3.0}},
        ),
        ("acknowledged, p50 beyond that of the disk's commit", {"commit_ms": {"count": 0, "p50": None}}),
        ("acknowledged, max beyond bgproxy's own sync", {"beyond_own_sync_ms": {"max": 10.0}}),
        (
            "p99 near a switch",
            {"latency_ms": {"near": {"p99": 3.1}, "elsewhere": {"p99": 2.0}, "noise": [1.0, 3.0]}},
        ),
        (
            "p99 near a switch",
            {"latency_ms": {"near": {"p99": None}, "elsewhere": {"p99": None}, "noise": [None, None]}},
        ),
    ],
)
def test_each_promise_can_be_broken(promise: str, change: dict[str, Any]) -> None:
    assert broken(facts(**change)) == [promise]


def test_every_kind_of_loss_is_named() -> None:
    lost = budgets.lost(facts(errors=1, stale=2000, posts_done_twice=3, answered_not_done=4))
    assert lost == ["1 failed", "2,000 stale", "3 POST done twice", "4 answered but not done"]
