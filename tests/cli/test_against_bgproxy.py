"""The commands against the admin API itself, so that what they expect of its answers stays true."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bgproxy.cli.main import program

from .conftest import PROGRAM

CONFIG = """
listeners: [{{name: public, bind: "127.0.0.1:0"}}]
admin: {{bind: "unix:{folder}/admin.sock"}}
state: {{backend: memory}}
groups: {{shop: [web]}}
services:
  web:
    pools:
      blue: {{version: v1, upstreams: ["unix:{folder}/blue.sock"]}}
      green: {{version: v2, upstreams: ["unix:{folder}/green.sock"]}}
"""

Bgproxy = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a bgproxy is running whose upstreams are all absent."""
    folder = tmp_path_factory.mktemp("bgproxy")
    config = folder / "bgproxy.yaml"
    config.write_text(CONFIG.format(folder=folder))
    with subprocess.Popen([*PROGRAM, "run", "-c", config], text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready" in line:
                break
        else:
            raise AssertionError("".join(said))
        yield folder
        process.terminate()
        process.stderr.read()
        assert process.wait(20) == 0


@pytest.fixture
def bgproxy(folder: Path) -> Bgproxy:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(program, arguments, env={"BGPROXY_ADMIN": f"unix:{folder}/admin.sock"})

    return call


def test_a_switch_is_refused_with_reasons_and_forced(bgproxy: Bgproxy) -> None:
    refused = bgproxy("switch", "--to", "green")
    assert refused.exit_code == 1
    assert "web/green" in refused.stderr
    assert bgproxy("switch", "--dry-run").exit_code == 1
    assert bgproxy("switch", "web", "--to", "green", "--force", "--reason", "test").stdout.startswith(
        "web: blue → green  generation "
    )
    assert bgproxy("rollback", "--group", "shop", "--force", "--hold", "1s").stdout.startswith(
        "web: green → blue"
    )
    assert "test" in bgproxy("history", "web").stdout


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            ["canary", "--weight", "5", "--query", "v=2", "--force"],
            "web: canary 5 % and query v=2  generation ",
        ),
        (["canary", "web", "--off"], "web: no canary  generation "),
        (
            ["hold", "--timeout", "30s", "--max-requests", "5", "--max-bytes", "1MiB"],
            "web: new requests are held",
        ),
        (
            ["maintenance", "on", "web", "--retry-after", "10m", "--reason", "moving"],
            'web: maintenance: 503, retry after 600 s, "moving"  generation ',
        ),
        (["maintenance", "off", "--group", "shop"], "web: no maintenance  generation "),
        (["release-hold"], "web: 0 held requests released  generation "),
        (["drain"], "web: upgraded connections of "),
        (
            ["pool", "set", "web", "green", "--upstream", "127.0.0.1:9=2"],
            "web: pool green replaced  generation ",
        ),
        (["reload"], "reloaded  generation "),
        (["status"], "bgproxy "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_each_answer_is_understood(bgproxy: Bgproxy, arguments: list[str], shown: str) -> None:
    result = bgproxy(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(shown)


def test_dry_runs_and_events_are_understood(bgproxy: Bgproxy) -> None:
    for change in (["canary", "--weight", "5"], ["maintenance", "on"], ["hold"], ["drain"]):
        result = bgproxy(*change, "--dry-run")
        assert result.stdout.startswith("would "), result.output
    assert bgproxy("events").exit_code == 0
    assert all(json.loads(line)["kind"] for line in bgproxy("events", "-o", "json").stdout.splitlines())


def test_a_wrong_generation_and_a_wrong_name_are_refusals(bgproxy: Bgproxy) -> None:
    conflict = bgproxy("canary", "--off", "--if-generation", "4711")
    assert (conflict.exit_code, "not 4711" in conflict.stderr) == (1, True)
    assert bgproxy("switch", "wbe").exit_code == 1
