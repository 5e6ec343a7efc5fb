"""The same ledger, held across what happens to processes: crashes, reloads, upgrades, stopped upstreams."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import yaml

from tests.support.running import PATIENCE_S
from tests.support.scene import Scene, assert_nothing_lost, scene


async def test_killing_the_controller_loses_nothing_and_its_successor_goes_on(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.start_load()
        for _ in range(3):
            before = await here.change()
            await here.kill((await here.proxy.status())["controller"]["pid"])
            await here.until_answered(200)
            after = await here.change()
            assert after["generation"] == before["generation"] + 1
        assert_nothing_lost(await here.end_load())


async def test_a_reload_that_changes_everything_loses_nothing(tmp_path: Path) -> None:
    """Another service, another upstream weight, another listener and a third worker, by SIGHUP."""
    async with scene(tmp_path) as here:
        await here.start_load()
        config = yaml.safe_load(here.proxy.config_path.read_text())
        for workers in (3, 2, 1, 2):
            config["workers"] = workers
            config["services"]["web"]["timeouts"] = {"response_head": f"{10 + workers}s"}
            here.proxy.config_path.write_text(yaml.safe_dump(config))
            before = (await here.proxy.status())["generation"]
            os.kill(here.proxy.pid, signal.SIGHUP)
            await until_applied(here, before)
            await until_serving(here, workers)
            await here.until_answered(300)
            await here.change()
        assert_nothing_lost(await here.end_load())


async def test_an_upgrade_of_the_running_program_loses_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.start_load()
        for _ in range(2):
            before = await here.workers()
            code, answer = await here.proxy.call("POST", "/admin/upgrade")
            assert code == 202, answer
            assert answer["pid"] == here.proxy.pid
            await until_replaced(here, before)
            await here.change()
            await here.until_answered(300)
        assert_nothing_lost(await here.end_load())


async def test_an_upstream_that_announces_its_end_costs_no_request(tmp_path: Path) -> None:
    """It says that it is not healthy, goes on answering for a moment, and stops; then it comes back."""
    async with scene(tmp_path) as here:
        blue = here.apps["blue-1"]
        await blue.stop(signal.SIGKILL)
        await blue.start(lame_duck_s=1.5)
        await here.proxy.until_healthy("web", "blue")
        await here.start_load(clients=32, think_s=0.01)
        for _ in range(2):
            await here.until_answered(300)
            await blue.stop()
            await here.until_answered(300)
            await blue.start(lame_duck_s=1.5)
            await here.proxy.until_healthy("web", "blue")
        assert_nothing_lost(await here.end_load())


async def test_an_upstream_that_stops_at_once_costs_no_request_that_may_be_repeated(tmp_path: Path) -> None:
    """A POST that is inside it is not repeated, by RFC 9110 section 9.2.2; nothing else is lost."""
    async with scene(tmp_path) as here:
        await here.start_load(clients=32, think_s=0.01)
        for _ in range(5):
            await here.until_answered(300)
            await here.apps["blue-1"].stop(signal.SIGKILL)
            await here.until_answered(300)
            await here.apps["blue-1"].start()
            await here.proxy.until_healthy("web", "blue")
        ledger = await here.end_load()
        assert {each.method for each in ledger.errors()} <= {"POST"}
        assert len(ledger.errors()) <= 5 * 32
        assert (ledger.stale(), ledger.duplicates(), ledger.unprocessed()) == ([], [], [])


async def test_an_upstream_that_stops_while_connections_to_it_are_idle_costs_no_request(
    tmp_path: Path,
) -> None:
    """A canary leaves idle connections to green; green is killed and started again, and gets all traffic."""
    async with scene(tmp_path) as here:
        await here.start_load()
        greens = [app for app in here.apps.values() if app.name.startswith("green")]
        for _ in range(3):
            await here.canary(50)
            await here.until_answered(300)
            await here.canary(None)
            async with asyncio.timeout(PATIENCE_S):
                while (await here.proxy.service())["pools"]["green"]["in_flight"]:
                    await asyncio.sleep(0.01)
            for app in greens:
                await app.stop(signal.SIGKILL)
                await app.start()
            await here.proxy.until_healthy("web", "green")
            await here.change()
            await here.until_answered(300)
            await here.change("/admin/rollback")
        assert_nothing_lost(await here.end_load())


async def test_killing_a_worker_loses_only_what_was_inside_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.start_load()
        for _ in range(3):
            await here.until_answered(300)
            victim = random.choice(await here.workers())
            here.ledger.crashes.append(await here.kill(victim))
            await here.until_answered(300)
            await here.change()
        ledger = await here.end_load()
        assert_nothing_lost(ledger)
        assert len(ledger.lost_in_crash()) <= 3 * 64
        status = await here.proxy.service()
        assert [pool["in_flight"] for pool in status["pools"].values()] == [0, 0]


async def test_a_drained_side_can_be_stopped_as_soon_as_it_is_said_to_be_safe(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.start_load()
        for _ in range(3):
            left = here.active
            await here.change()
            async with asyncio.timeout(PATIENCE_S):
                while not (await here.proxy.service())["pools"][left]["safe_to_stop"]:
                    await asyncio.sleep(0.01)
            apps = [app for app in here.apps.values() if app.name.startswith(left)]
            for app in apps:
                await app.stop(signal.SIGKILL)
            await here.until_answered(300)
            for app in apps:
                await app.start()
            await here.proxy.until_healthy("web", left)
        assert_nothing_lost(await here.end_load())


async def test_a_reload_that_replaces_every_upstream_of_the_active_pool_loses_nothing(tmp_path: Path) -> None:
    """The new ones are proven before they get traffic, and the old ones have it until then."""
    async with scene(tmp_path) as here:
        config = yaml.safe_load(here.proxy.config_path.read_text())
        blue, green = (config["services"]["web"]["pools"][side] for side in ("blue", "green"))
        await here.start_load(clients=32)
        for first, second in ((green, blue), (blue, green), (green, blue)):
            config["services"]["web"]["pools"]["blue"] = {**first, "version": "replaced"}
            config["services"]["web"]["pools"]["green"] = {**second, "version": "replaced"}
            here.proxy.config_path.write_text(yaml.safe_dump(config))
            code, answer = await here.proxy.call("POST", "/admin/reload")
            assert code == 200, answer
            await here.until_answered(300)
        ledger = await here.end_load()
        assert (ledger.errors(), ledger.duplicates(), ledger.unprocessed()) == ([], [], [])


async def until_applied(here: Scene, before: int) -> None:
    """Until the generation is another one: workers may have begun to serve when the reload is not yet committed."""
    async with asyncio.timeout(PATIENCE_S):
        while (await here.proxy.status())["generation"] == before:
            await asyncio.sleep(0.05)


async def until_serving(here: Scene, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(await here.workers()) != count:
            await asyncio.sleep(0.05)


async def until_replaced(here: Scene, before: list[int]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            now = await here.workers()
            if now and not set(now) & set(before):
                return
            await asyncio.sleep(0.05)
