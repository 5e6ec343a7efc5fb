from __future__ import annotations

import pytest

from bgproxy.mirroring.live import LiveMirror
from bgproxy.model import Mirror
from tests.mirroring.answers import request


def due(mirror: LiveMirror, requests: int) -> int:
    return sum(mirror.is_due(request()) for _ in range(requests))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_requests_are_mirrored(method: str) -> None:
    assert LiveMirror(Mirror(share=1.0)).is_due(request(method))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"])
def test_others_never_are(method: str) -> None:
    assert not LiveMirror(Mirror(share=1.0)).is_due(request(method))


@pytest.mark.parametrize("field", ["Content-Length: 1", "Transfer-Encoding: chunked"])
def test_a_request_with_a_body_is_not_mirrored(field: str) -> None:
    assert not LiveMirror(Mirror(share=1.0)).is_due(request("GET", field))


def test_an_upgrade_is_not_mirrored() -> None:
    upgrade = request("GET", "Connection: Upgrade", "Upgrade: websocket")
    assert not LiveMirror(Mirror(share=1.0)).is_due(upgrade)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1000), (0.5, 500), (0.1, 100), (0.003, 3), (0.0, 0)])
def test_the_share_is_exact(share: float, expected: int) -> None:
    assert due(LiveMirror(Mirror(share=share)), 1000) == expected


def test_a_share_is_spread_evenly() -> None:
    mirror = LiveMirror(Mirror(share=0.25))
    assert [mirror.is_due(request()) for _ in range(8)] == [False, False, False, True] * 2


def test_what_is_never_mirrored_takes_no_part_in_the_share() -> None:
    mirror = LiveMirror(Mirror(share=0.5))
    found = [mirror.is_due(request(method)) for method in ("GET", "POST", "POST", "GET")]
    assert found == [False, False, False, True]


def test_the_share_stays_exact_over_a_new_snapshot() -> None:
    mirror = LiveMirror(Mirror(share=0.25))
    found = 0
    for _ in range(100):
        mirror = LiveMirror(Mirror(share=0.25), before=mirror)
        found += due(mirror, 1)
    assert found == 25
