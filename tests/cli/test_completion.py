from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bgproxy.cli.completion import SHELLS, script
from bgproxy.cli.main import program

from . import examples
from .admin import Admin
from .conftest import PROGRAM


def completed(admin_url: str, words: str) -> list[str]:
    """What bash is told for this line, of which the last word is being typed."""
    environ = {
        **os.environ,
        "BGPROXY_ADMIN": admin_url,
        "_BGPROXY_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(PROGRAM, env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sorted(line for line in done.stdout.splitlines() if line)


def test_services_and_pools_come_from_the_running_admin_api(admin: Admin) -> None:
    admin.says("GET /admin/status", examples.status(examples.service("web"), examples.service("api")))
    assert completed(admin.url, "bgproxy switch w") == ["plain,web"]
    assert completed(admin.url, "bgproxy switch web --to ") == ["plain,blue", "plain,green"]
    assert completed(admin.url, "bgproxy pool set api g") == ["plain,green"]


def test_the_admin_api_that_the_line_names_is_asked(admin: Admin) -> None:
    admin.says("GET /admin/status", examples.status())
    assert completed("http://127.0.0.1:1", f"bgproxy --admin {admin.url} canary ") == ["plain,web"]


@pytest.mark.parametrize("status", [401, 503])
def test_nothing_is_offered_and_nothing_said_without_an_answer(admin: Admin, status: int) -> None:
    admin.refuses("GET /admin/status", status, "no", "no")
    assert completed(admin.url, "bgproxy switch ") == []
    assert completed("unix:/nowhere/admin.sock", "bgproxy switch ") == []


def test_commands_are_completed_without_asking_anybody(admin: Admin) -> None:
    assert completed(admin.url, "bgproxy rel") == ["plain,release-hold", "plain,reload"]
    assert admin.calls == []


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script_that_asks_bgproxy(shell: str) -> None:
    assert f"_BGPROXY_COMPLETE={shell}_complete" in script(shell, program)


def test_bash_understands_the_script(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script("bash", program))
    subprocess.run(
        ["bash", "-c", f"source {tmp_path}/script && complete -p bgproxy"], check=True, capture_output=True
    )
