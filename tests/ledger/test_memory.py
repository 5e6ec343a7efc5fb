"""What slow peers and idle connections cost a whole running bgproxy: `make memory`, with less of everything."""

from __future__ import annotations

import pytest

from benchmarks.memory import budgets, measure
from benchmarks.memory.budgets import MIB
from benchmarks.memory.measure import Slow
from benchmarks.memory.site import Setting

EACH = 30
SIZE_BYTES = 20 * MIB
SLOW_S = 0.7
# The promise is of a hundred on either side. What does not grow with them is small.
GROWTH_BYTES = budgets.GROWTH_BYTES * EACH // 100
CONNECTIONS = 2_000


@pytest.mark.parametrize(
    "row",
    [
        Slow("Content-Length, with an access log", Setting(access_log=True)),
        Slow("chunked, every GET mirrored", Setting(mirror=True), chunked=True),
        Slow("readers that read nothing at first", reader_bytes_per_s=0),
        Slow("TLS on both sides", Setting(listener_tls=True, upstream_tls=True)),
    ],
    ids=lambda row: row.about,
)
def test_slow_readers_and_slow_uploads_cost_bounded_memory_and_come_whole(row: Slow) -> None:
    """More than a GiB goes through; what may be kept of it is 20 MiB."""
    found = measure.transfers(row, each=EACH, size_bytes=SIZE_BYTES, slow_s=SLOW_S)
    assert (found["broken"], found["whole"]) == ([], 2 * EACH)
    assert found["rss_growth_bytes"] < GROWTH_BYTES


@pytest.mark.parametrize("asked", [True, False], ids=["after a request", "that never sent a byte"])
def test_an_idle_connection_costs_no_more_than_was_promised(*, asked: bool) -> None:
    found = measure.idle(CONNECTIONS, asked=asked)
    assert found["bytes_each"] <= budgets.IDLE_BYTES


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_connections_that_have_ended_leave_nothing(*, tls: bool) -> None:
    found = measure.churn(2_000, tls=tls)
    assert found["left_bytes_each"] < budgets.LEFT_BYTES


def test_idle_connections_do_not_disturb_a_normal_request() -> None:
    found = measure.disturbance(CONNECTIONS, requests=1_000)
    assert found["ratio"] < budgets.DISTURBANCE
