"""The controller may die at any point: what was acknowledged stays, and nothing is half done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.crashing import POINTS
from tests.support.running import Running, bgproxy, spawned, write
from tests.support.scene import VERSIONS, App


async def answering(proxy: Running) -> str:
    """The side that answers a request at the public listener."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{proxy.addresses['public']}/version") as response,
    ):
        version = (await response.json(content_type=None))["version"]
        return next(side for side, each in VERSIONS.items() if each == version)


@contextlib.asynccontextmanager
async def two_apps(directory: Path) -> AsyncIterator[dict[str, Any]]:
    """A configuration with one running app on each side."""
    apps = {side: App(f"{side}-1", directory) for side in VERSIONS}
    try:
        for app in apps.values():
            await app.start()
        yield {
            "services": {
                "web": {
                    "pools": {side: {"upstreams": [f"127.0.0.1:{app.port}"]} for side, app in apps.items()},
                    "health": {"path": "/health", "interval": "200ms"},
                }
            }
        }
    finally:
        for app in apps.values():
            await app.stop(signal.SIGKILL)


@pytest.mark.parametrize("point", POINTS)
async def test_a_controller_killed_in_a_switch_leaves_the_old_or_the_new_state(
    tmp_path: Path, point: str
) -> None:
    flag = tmp_path / "crash"
    async with two_apps(tmp_path) as config:
        path = write(tmp_path, config)
        program = ("-m", "tests.support.crashing", point, str(flag), "--config", str(path))
        async with spawned(*program, config=path) as proxy:
            await proxy.until_logged("ready: ")
            await proxy.until_healthy("web", "green")
            flag.touch()
            with pytest.raises(aiohttp.ClientError):
                await proxy.call("POST", "/admin/switch")
            await proxy.until_logged("traffic goes on")
            after = await proxy.status()
            found = (after["services"][0]["active"], after["generation"])
            assert found == (("blue", 1) if point == "before_write" else ("green", 2))
            assert await answering(proxy) == found[0]
            # The next call works, and generations go on upward.
            await proxy.until_healthy("web", after["services"][0]["idle"])
            code, answer = await proxy.call("POST", "/admin/switch")
            assert (code, answer["generation"]) == (200, found[1] + 1)


async def test_an_acknowledged_switch_survives_the_death_of_everything(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config:
        async with bgproxy(tmp_path, config) as proxy:
            await proxy.until_healthy("web", "green")
            code, _ = await proxy.call("POST", "/admin/switch", {"reason": "release 7"})
            assert code == 200
            os.killpg(proxy.pid, signal.SIGKILL)
            await proxy.process.wait()
        async with bgproxy(tmp_path, config) as proxy:
            status = await proxy.status()
            assert (status["services"][0]["active"], status["generation"]) == ("green", 2)
            assert await answering(proxy) == "green"
            _, history = await proxy.call("GET", "/admin/history")
            assert [row["action"] for row in history["history"]] == ["switch", "first_start"]
            assert history["history"][0]["reason"] == "release 7"


async def test_a_successor_knows_the_health_that_its_predecessor_knew(tmp_path: Path) -> None:
    """With a check every hour, only what was known before can make the switch possible at once."""
    async with two_apps(tmp_path) as config:
        config["services"]["web"]["health"]["interval"] = "1h"
        async with bgproxy(tmp_path, config) as proxy:
            await proxy.until_healthy("web", "green")
            os.kill((await proxy.status())["controller"]["pid"], signal.SIGKILL)
            await proxy.until_logged("traffic goes on")
            code, answer = await proxy.call("POST", "/admin/switch")
            assert code == 200, answer


async def test_a_successor_resumes_what_was_applied_and_not_what_is_being_edited(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        proxy.config_path.write_text("this: is not finished")
        os.kill((await proxy.status())["controller"]["pid"], signal.SIGKILL)
        await proxy.until_logged("traffic goes on")
        assert (await proxy.status())["services"][0]["service"] == "web"


async def test_a_reload_applies_what_is_new_and_keeps_the_active_side(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        await proxy.until_healthy("web", "green")
        await proxy.call("POST", "/admin/switch")
        text = yaml.safe_load(proxy.config_path.read_text())
        text["services"]["api"] = {"hosts": ["api.example.com"], **text["services"]["web"]}
        proxy.config_path.write_text(yaml.safe_dump(text))
        code, answer = await proxy.call("POST", "/admin/reload")
        assert (code, answer["changed"]) == (200, ["service api added"])
        status = await proxy.status()
        assert {each["service"]: each["active"] for each in status["services"]} == {
            "web": "green",
            "api": "blue",
        }


async def test_a_reload_with_errors_names_them_all_and_changes_nothing(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        await proxy.until_healthy("web", "green")
        before = await proxy.status()
        text = proxy.config_path.read_text()
        proxy.config_path.write_text(text.replace("interval: 200ms", "intervall: soon") + "wokers: 3\n")
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code == 422
        assert [each["path"] for each in answer["problems"]] == ["services.web.health.intervall", "wokers"]
        after = await proxy.status()
        assert after["generation"] == before["generation"]
        assert after["sequence"] == before["sequence"]


async def test_a_reload_that_needs_a_restart_says_so(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        text = yaml.safe_load(proxy.config_path.read_text())
        text["state"]["path"] = str(tmp_path / "other.db")
        proxy.config_path.write_text(yaml.safe_dump(text))
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code == 422
        assert "restart" in answer["detail"]


async def test_a_reload_that_cannot_listen_changes_nothing(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        before = await proxy.status()
        text = yaml.safe_load(proxy.config_path.read_text())
        taken = text["services"]["web"]["pools"]["blue"]["upstreams"][0]
        text["listeners"].append({"name": "third", "bind": taken})
        proxy.config_path.write_text(yaml.safe_dump(text))
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code == 409
        assert taken in answer["detail"]
        after = await proxy.status()
        assert after["listeners"] == before["listeners"]
        assert after["generation"] == before["generation"]


async def test_a_refused_reload_leaves_the_listeners_alone(tmp_path: Path) -> None:
    """Its newcomers are not healthy, which takes time to find out; meanwhile clients come as before."""
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        await proxy.until_healthy("web", "green")
        before = await proxy.status()
        text = yaml.safe_load(proxy.config_path.read_text())
        text["listeners"][0]["name"] = "moved"  # with any port, that is another listener
        text["services"]["web"]["pools"]["blue"]["upstreams"] = ["127.0.0.1:1"]
        proxy.config_path.write_text(yaml.safe_dump(text))
        reload = asyncio.create_task(proxy.call("POST", "/admin/reload"))
        while not reload.done():
            assert await answering(proxy) == "blue"
        code, answer = await reload
        assert (code, answer["type"]) == (409, "urn:bgproxy:problem:nobody-healthy")
        after = await proxy.status()
        assert after["listeners"] == before["listeners"]
        assert [each["pid"] for each in after["workers"]] == [each["pid"] for each in before["workers"]]


async def test_a_reload_that_is_asked_for_while_there_is_no_controller_is_done_by_the_next(
    tmp_path: Path,
) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        os.kill((await proxy.status())["controller"]["pid"], signal.SIGKILL)
        await proxy.until_logged("traffic goes on")
        os.kill(proxy.pid, signal.SIGHUP)
        await proxy.until_logged("nothing has changed")


async def test_a_reload_that_a_signal_asked_for_and_that_is_refused_is_an_error_in_the_log(
    tmp_path: Path,
) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        proxy.config_path.write_text("workers: x")
        os.kill(proxy.pid, signal.SIGHUP)
        assert " ERROR " in await proxy.until_logged("reload refused, nothing is changed")


@pytest.mark.parametrize("pause_s", [0.0, 0.003, 0.006])
async def test_reloads_on_each_others_heels_end_as_the_file_says(tmp_path: Path, pause_s: float) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        text = yaml.safe_load(proxy.config_path.read_text())
        text["listeners"].append({"name": "third", "bind": "127.0.0.1:0"})
        text["workers"] = 1
        proxy.config_path.write_text(yaml.safe_dump(text))
        calls = []
        for _ in range(3):
            os.kill(proxy.pid, signal.SIGHUP)
            calls.append(asyncio.create_task(proxy.call("POST", "/admin/reload")))
            await asyncio.sleep(pause_s)
        for call in calls:
            code, answer = await call
            assert code == 200, answer
        proxy.log.clear()
        os.kill(proxy.pid, signal.SIGHUP)
        await proxy.until_logged("nothing has changed")
        names = [each["name"] for each in (await proxy.status())["listeners"]]
        assert names == ["public", "preview", "third"]
