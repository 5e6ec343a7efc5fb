"""The promise of bgproxy: cutovers under load, and nobody notices."""

from __future__ import annotations

import asyncio
import itertools
import random
from pathlib import Path

from bgproxy.demo.ledger import Kind
from tests.support.running import PATIENCE_S
from tests.support.scene import assert_nothing_lost, scene

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
    """While a request is answered by one side, no request is answered by the other."""
    async with scene(tmp_path) as here:
        await here.start_load(clients=64)
        for _ in range(10):
            await here.until_answered(200)
            await here.change(body={"hold": "5s"}, kind=Kind.HOLD)
        ledger = await here.end_load()
        assert_nothing_lost(ledger)
        finished = sorted((each.ended, each.version) for each in ledger.requests if each.ok)
        sides = [version for _, version in finished]
        changes = sum(1 for before, after in itertools.pairwise(sides) if before != after)
        assert changes == 10


async def test_rollbacks_lose_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.start_load(clients=32)
        await here.change()
        for _ in range(10):
            await here.until_answered(200)
            await here.change("/admin/rollback")
        assert_nothing_lost(await here.end_load())


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def until_fewer_descriptors(pids: list[int], limit: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum(descriptors(pid) for pid in pids) >= limit:
            await asyncio.sleep(0.1)
