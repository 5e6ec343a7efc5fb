"""The promise of bgproxy: cutovers under load, and nobody notices."""

from __future__ import annotations

import asyncio
import itertools
import random
from pathlib import Path

from bgproxy.demo.app import SLOW_S
from bgproxy.demo.ledger import Kind
from tests.support.running import PATIENCE_S
from tests.support.scene import App, assert_nothing_lost, scene

SWITCHES = 100


async def test_a_hundred_switches_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    """64 kept-alive clients, half POST, fast and slow, chunked both ways; descriptors and memory go back."""
    async with scene(tmp_path) as here:
        await here.start_load(clients=64)
        await here.until_answered(2000)
        workers = await here.workers()
        descriptors_before = sum(descriptors(pid) for pid in workers)
        memory_before = sum(memory_kib(pid) for pid in workers)
        for _ in range(SWITCHES):
            await asyncio.sleep(random.uniform(0, 0.1))
            await here.change()
        descriptors_after = sum(descriptors(pid) for pid in workers)
        ledger = await here.end_load()
        assert_nothing_lost(ledger, at_least=5000)
        assert {"v1", "v2"} <= set(ledger.per_version(ledger.requests))
        assert here.ack_ms[len(here.ack_ms) // 2] < 50, "not a measurement: an order of magnitude"
        assert await here.workers() == workers, "a worker has been replaced"
        # With the clients gone, only listening sockets and the loop's own descriptors are left.
        await until_fewer_descriptors(workers, descriptors_before)
        assert descriptors_after < descriptors_before * 2 + 64
        assert sum(memory_kib(pid) for pid in workers) < memory_before + 8 * 1024


async def test_hold_cutovers_never_mix_the_sides(tmp_path: Path) -> None:
    """While a request is answered by one side, no request is answered by the other, by the apps' own clocks."""
    async with scene(tmp_path) as here:
        await here.start_load(clients=64)
        for _ in range(10):
            await here.until_answered(200)
            await here.change(body={"hold": "5s"}, kind=Kind.HOLD)
        ledger = await here.end_load()
        assert_nothing_lost(ledger)
        answered = sorted(
            (begun, begun + (SLOW_S if path == "/slow" else 0.0), app.version)
            for app in here.apps.values()
            for path, begun in journal_of(app)
        )
        changes = 0
        busy_until = {"v1": 0.0, "v2": 0.0}
        for (_, _, before), (begun, ended, after) in itertools.pairwise(answered):
            if before != after:
                changes += 1
                # A timer may be a millisecond early.
                assert begun >= busy_until[before] - 0.002, "the other side was still at a slow request"
            busy_until[after] = max(busy_until[after], ended)
        assert changes == 10


async def test_rollbacks_lose_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.start_load(clients=32)
        await here.change()
        for _ in range(10):
            await here.until_answered(200)
            await here.change("/admin/rollback")
        assert_nothing_lost(await here.end_load())


def journal_of(app: App) -> list[tuple[str, float]]:
    """The path and the time of every request that the app has taken up."""
    lines = [line.split() for line in app.journal.read_text().splitlines()]
    return [(path, float(begun)) for _, path, _, begun in lines]


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def until_fewer_descriptors(pids: list[int], limit: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum(descriptors(pid) for pid in pids) >= limit:
            await asyncio.sleep(0.1)
