from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from bgproxy.cli.mirror_view import mirror_view

from .examples import NOW

SIDE = {
    "pool": "blue",
    "version": "v1",
    "upstream": "b:1",
    "status": 200,
    "body_bytes": 10,
    "latency_us": 1500,
}


def difference(**changes: Any) -> dict[str, Any]:
    return {
        "time": NOW,
        "method": "GET",
        "path": "/a",
        "active": SIDE,
        "idle": {**SIDE, "pool": "green", "status": 500, "body_bytes": 12, "latency_us": 123_000},
        "differs": ["status"],
        "body": "same",
        "headers": [],
        "json": [],
        **changes,
    }


def answer(*differences: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "service": "web",
        "active": "blue",
        "idle": "green",
        "share": 0.1,
        "totals": {
            "mirrored": 1000,
            "same": 990,
            "different": 2,
            "failed": 3,
            "uncompared": 4,
            "left_out": 0,
            "bodies_left_out": 0,
        },
        "different": {"status": 2, "headers": 0, "body": 1},
        "failed": {"connect_failed": 0, "reset": 0, "timed_out": 3, "invalid": 0},
        "latency_ms": {"samples": 20, "active": {"p50": 1.0, "p95": 2.0}, "idle": {"p50": 3.0, "p95": None}},
        "differences": list(differences),
        **changes,
    }


def shown(said: dict[str, Any]) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=220, highlight=False).print(mirror_view(said))
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_it_says_how_the_copies_went_and_how_fast_both_pools_were() -> None:
    assert shown(answer()) == [
        "web 10 % of the safe requests to blue are copied to green",
        "1,000 copies: 990 same, 2 different (status 2, body 1), 3 failed (timed out 3), 4 not compared",
        "latency of the last 20: blue p50 1.0 ms, p95 2.0 ms; green p50 3.0 ms, p95 \N{EN DASH}",
        "",
        "no differences are kept",
    ]


def test_each_difference_says_what_differs() -> None:
    told = [
        difference(),
        difference(differs=["headers"], headers=[{"name": "location", "active": "/a", "idle": None}]),
        difference(differs=["body"], json=[{"path": "$.a", "active": "number", "idle": "absent"}]),
        difference(differs=["body"]),
        difference(body="too_large"),
    ]
    rows = [line.split("GET /a ")[1] for line in shown(answer(*told)) if "GET" in line]
    assert rows == [
        f"blue 200 in 1.5 ms green 500 in 123 ms {what}"
        for what in (
            "status",
            "location: /a → \N{EN DASH}",
            "$.a: number → absent",
            "body: 10 → 12 bytes",
            "status; body too large to compare",
        )
    ]


def test_text_from_responses_cannot_move_the_cursor() -> None:
    assert "\x1b" not in "".join(shown(answer(difference(path="/\x1b[2J"))))


def test_a_service_without_a_mirror_is_told_how_to_get_one() -> None:
    totals = dict.fromkeys(answer()["totals"], 0)
    (line,) = shown(answer(share=None, totals=totals))
    assert line == "web has no mirror: give it one with `mirror: {share: 10%}` and reload"
