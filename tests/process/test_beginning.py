"""What a controller begins with, when it is not the first one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import yaml

from tests.process.test_controller import answering, two_apps
from tests.support.running import bgproxy


async def test_a_state_in_memory_outlives_the_controller(tmp_path: Path) -> None:
    """It is forgotten with bgproxy as a whole, but never while traffic obeys it."""
    async with two_apps(tmp_path) as config:
        config["state"] = {"backend": "memory"}
        async with bgproxy(tmp_path, config) as proxy:
            await proxy.until_healthy("web", "green")
            _, switched = await proxy.call("POST", "/admin/switch")
            os.kill((await proxy.status())["controller"]["pid"], signal.SIGKILL)
            await proxy.until_logged("traffic goes on")
            status = await proxy.status()
            assert (status["services"][0]["active"], status["generation"]) == (
                "green",
                switched["generation"],
            )
            assert await answering(proxy) == "green"
            code, back = await proxy.call("POST", "/admin/rollback")
            assert (code, back["generation"]) == (200, switched["generation"] + 1)


async def test_a_state_file_that_has_gone_is_no_reason_to_begin_anew(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        await proxy.until_healthy("web", "green")
        await proxy.call("POST", "/admin/switch")
        for path in tmp_path.glob("state.db*"):
            path.unlink()
        os.kill((await proxy.status())["controller"]["pid"], signal.SIGKILL)
        said = await proxy.until_logged("has gone while bgproxy was running")
        assert "state.db" in said
        assert await answering(proxy) == "green"


async def test_a_pool_that_was_edited_while_bgproxy_was_down_is_the_edited_one(tmp_path: Path) -> None:
    """Of two words about one pool, the call's and the file's, the newer one counts."""
    async with two_apps(tmp_path) as config:
        async with bgproxy(tmp_path, config) as proxy:
            await proxy.call(
                "PUT", "/admin/services/web/pools/green", {"upstreams": [], "version": "by call"}
            )
        async with bgproxy(tmp_path, config) as proxy:
            assert (await proxy.service())["pools"]["green"]["version"] == "by call"
        green = config["services"]["web"]["pools"]["green"]
        green["version"] = "label"
        async with bgproxy(tmp_path, config) as proxy:
            assert (await proxy.service())["pools"]["green"]["version"] == "by call"
        green["upstreams"] = [{"address": green["upstreams"][0], "weight": 2}]
        green["version"] = "by file"
        async with bgproxy(tmp_path, config) as proxy:
            assert (await proxy.service())["pools"]["green"]["version"] == "by file"
            assert await answering(proxy) == "blue"


async def test_upstreams_given_by_name_are_known_to_a_successor(tmp_path: Path) -> None:
    """Its first snapshot has them, before a name could be looked up."""
    async with two_apps(tmp_path) as config:
        for pool in config["services"]["web"]["pools"].values():
            pool["upstreams"] = [address.replace("127.0.0.1", "localhost") for address in pool["upstreams"]]
        async with bgproxy(tmp_path, config) as proxy:
            assert await answering(proxy) == "blue"
            for _ in range(3):
                proxy.log.clear()
                os.kill((await proxy.status())["controller"]["pid"], signal.SIGKILL)
                await proxy.until_logged("controller took over")
                assert await answering(proxy) == "blue"
            served = (await proxy.service())["proxy_errors"]
            assert served == 0


async def test_a_reload_that_loses_the_active_pool_is_refused(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        text = yaml.safe_load(proxy.config_path.read_text())
        pools = text["services"]["web"]["pools"]
        pools["turquoise"] = pools.pop("blue")
        proxy.config_path.write_text(yaml.safe_dump(text))
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code == 409
        assert "blue is the active pool of web" in answer["detail"]
        assert await answering(proxy) == "blue"


async def test_a_reload_that_would_leave_nobody_healthy_is_refused(tmp_path: Path) -> None:
    async with two_apps(tmp_path) as config, bgproxy(tmp_path, config) as proxy:
        text = yaml.safe_load(proxy.config_path.read_text())
        text["services"]["web"]["pools"]["blue"]["upstreams"] = ["127.0.0.1:1"]
        proxy.config_path.write_text(yaml.safe_dump(text))
        code, answer = await proxy.call("POST", "/admin/reload")
        assert code == 409
        assert answer["upstreams"][0]["reason"] == "connection refused"
        assert await answering(proxy) == "blue"
        assert (await proxy.service())["pools"]["blue"]["healthy"]
