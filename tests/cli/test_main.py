from __future__ import annotations

import json
import os
import pty
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from bgproxy import __version__
from bgproxy.cli.main import SECTIONS, program
from tests.support.build import COMPILED

from .admin import Admin
from .conftest import PROGRAM, Run
from .examples import SWITCHED

HELP_MS = 150


def test_every_command_is_in_the_help_with_the_exit_codes(run: Run) -> None:
    shown = run("--help").output
    for commands in SECTIONS.values():
        for command in commands:
            assert f"\n  {command.name} " in shown
    assert "\n  4  not allowed" in shown
    assert {command.name for commands in SECTIONS.values() for command in commands} == set(program.commands)


def test_the_version_is_the_packages(run: Run) -> None:
    build = " (compiled)" if COMPILED else ""
    assert run("--version").output == f"bgproxy, version {__version__}{build}\n"


def test_the_help_is_there_at_once() -> None:
    """CPU time, because the machine may be busy."""
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run([*PROGRAM, "--help"], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        spent.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert statistics.median(spent) * 1000 < HELP_MS


def test_the_help_imports_nothing_heavy() -> None:
    found = subprocess.run(
        [PROGRAM[0], "-X", "importtime", *PROGRAM[1:], "--help"], check=True, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    assert "click" in imported
    assert imported.isdisjoint({"rich", "pydantic", "yaml", "aiohttp", "uvloop"})


@pytest.mark.parametrize("position", ["before", "after"])
def test_global_options_stand_before_or_after_the_command(admin: Admin, run: Run, position: str) -> None:
    admin.says("POST /admin/switch", SWITCHED)
    options = ("--admin", admin.url, "-o", "json")
    arguments = (*options, "switch") if position == "before" else ("switch", *options)
    result = run(*arguments, BGPROXY_ADMIN="http://127.0.0.1:1")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == SWITCHED


def test_the_token_comes_from_the_variable_or_a_file_and_the_file_wins(
    admin: Admin, run: Run, tmp_path: Path
) -> None:
    admin.says("POST /admin/switch", SWITCHED)
    run("switch", BGPROXY_TOKEN="from-variable")
    assert admin.last.headers["Authorization"] == "Bearer from-variable"
    (tmp_path / "token").write_text("from-file\n")
    run("switch", "--token-file", str(tmp_path / "token"), BGPROXY_TOKEN="from-variable")
    assert admin.last.headers["Authorization"] == "Bearer from-file"


@pytest.mark.parametrize(
    ("arguments", "environ", "what"),
    [
        (["--admin", "localhost", "status"], {}, "no address of an admin API"),
        (["--token-file", "/nowhere", "status"], {}, "/nowhere cannot be read"),
        (["status"], {"BGPROXY_TOKEN": "a\nb"}, "no header may have"),
        (["status", "-o", "xml"], {}, "'xml' is not one of"),
        (["swich"], {}, "No such command"),
    ],
)
def test_bad_usage_exits_with_2_and_asks_nobody(
    admin: Admin, run: Run, arguments: list[str], environ: dict[str, str], what: str
) -> None:
    result = run(*arguments, **environ)
    assert result.exit_code == 2
    assert what in " ".join(result.stderr.split())
    assert admin.calls == []


@pytest.mark.parametrize(("status", "code"), [(409, 1), (422, 1), (503, 1), (401, 4), (403, 4)])
def test_a_refusal_goes_to_stderr_with_its_exit_code(admin: Admin, run: Run, status: int, code: int) -> None:
    admin.refuses("POST /admin/switch", status, "Title", "Detail")
    result = run("switch")
    assert (result.exit_code, result.stdout) == (code, "")
    assert "Title\n  Detail\n" in result.stderr


def test_for_scripts_a_refusal_is_its_problem_document(admin: Admin, run: Run) -> None:
    admin.refuses("POST /admin/switch", 409, "Title", "Detail", generation=3)
    result = run("switch", "-o", "json")
    assert json.loads(result.stderr)["generation"] == 3
    assert result.stdout == ""


def test_an_absent_admin_api_exits_with_3(run: Run) -> None:
    result = run("switch", BGPROXY_ADMIN="unix:/nowhere/admin.sock")
    assert result.exit_code == 3
    assert "unix:/nowhere/admin.sock" in result.stderr


def test_colours_are_for_terminals_that_want_them(admin: Admin) -> None:
    admin.refuses("POST /admin/switch", 409, "Title", "Detail")
    environ = {**os.environ, "BGPROXY_ADMIN": admin.url}
    assert "\x1b[" in on_a_terminal(environ)
    assert "\x1b[" not in on_a_terminal({**environ, "NO_COLOR": "1"})
    piped = subprocess.run([*PROGRAM, "switch"], env=environ, capture_output=True, text=True, check=False)
    assert "\x1b[" not in piped.stderr


def test_a_terminal_that_cannot_show_an_arrow_is_no_reason_to_fail(admin: Admin) -> None:
    admin.says("POST /admin/switch", SWITCHED)
    environ = {**os.environ, "BGPROXY_ADMIN": admin.url, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*PROGRAM, "switch"], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "web: blue ? green  generation 12  1.8 ms\n"


def on_a_terminal(environ: dict[str, str]) -> str:
    """What `bgproxy switch` writes to its stderr, which is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "switch"], env=environ, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says EIO when the last writer has closed
                break
            written += piece
        process.wait(10)
    os.close(ours)
    return written.decode()
