from __future__ import annotations

import pytest

from bgproxy.engines.base import Traffic


@pytest.mark.parametrize(
    ("traffic", "empty"),
    [
        (Traffic(0, 0, 0), True),
        (Traffic(1, 0, 0), False),
        (Traffic(0, 1, 0), False),
        (Traffic(0, 0, 1), False),
    ],
)
def test_kept_alive_connections_are_traffic_too(traffic: Traffic, empty: bool) -> None:
    assert traffic.is_empty() is empty
