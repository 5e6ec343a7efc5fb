from __future__ import annotations

from dataclasses import replace

import msgspec

from bgproxy.mirroring.compare import Body, Comparison, HeaderDifference
from bgproxy.mirroring.difference import Side, difference, encode
from bgproxy.mirroring.json_paths import PathDifference
from bgproxy.shared_memory.mirrors import TEXT_BYTES

SIDE = Side("blue", "v1", "10.0.0.1:80", 200, 3, 1500)
FOUND = Comparison(
    status_differs=True,
    headers=(HeaderDifference("location", "/a", None),),
    body=Body.DIFFERENT,
    paths=(PathDifference("$.a", "number", "absent"),),
)


def test_it_says_what_differs_in_json() -> None:
    told = difference(9.5, b"GET", b"/a/b?token=secret", SIDE, replace(SIDE, status=500), FOUND)
    text = encode(told, 2000)
    assert b"secret" not in text
    assert msgspec.json.decode(text) == {
        "time": 9.5,
        "method": "GET",
        "path": "/a/b",
        "active": {
            "pool": "blue",
            "version": "v1",
            "upstream": "10.0.0.1:80",
            "status": 200,
            "body_bytes": 3,
            "latency_us": 1500,
        },
        "idle": {
            "pool": "blue",
            "version": "v1",
            "upstream": "10.0.0.1:80",
            "status": 500,
            "body_bytes": 3,
            "latency_us": 1500,
        },
        "differs": ["status", "headers", "body"],
        "body": "different",
        "headers": [{"name": "location", "active": "/a", "idle": None}],
        "json": [{"path": "$.a", "active": "number", "idle": "absent"}],
    }


def test_only_what_differs_is_named() -> None:
    only_status = Comparison(status_differs=True, headers=(), body=Body.TOO_LARGE)
    assert difference(0.0, b"GET", b"/", SIDE, SIDE, only_status).differs == ("status",)


def test_the_largest_there_can_be_still_fits() -> None:
    wide, odd = "\U0001f600" * 1000, "\x01" * 1000  # four and six bytes each in JSON
    for text in (wide, odd):
        side = Side(text, text, text, 200, 2**60, 2**60)
        found = Comparison(
            status_differs=True,
            headers=tuple(HeaderDifference(text[:80], text[:80], text[:80]) for _ in range(8)),
            body=Body.DIFFERENT,
            paths=tuple(PathDifference(text[:120], "object", "object") for _ in range(5)),
        )
        fitting = encode(difference(0.0, b"OPTIONS", b"/" + b'"' * 5000, side, side, found), TEXT_BYTES)
        assert len(fitting) <= TEXT_BYTES
        assert msgspec.json.decode(fitting)["differs"] == ["status", "headers", "body"]
