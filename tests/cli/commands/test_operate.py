from __future__ import annotations

import json
from pathlib import Path

import pytest

from bgproxy.demo import story
from bgproxy.process import start
from tests.cli.admin import Admin
from tests.cli.conftest import Run

GOOD = "services: {web: {pools: {blue: {}, green: {}}}}\n"
BAD = "workers: x\nservices: {web: {pool: 1}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "bgproxy.yaml"


def test_a_good_configuration_is_summed_up(run: Run, config: Path) -> None:
    config.write_text(GOOD)
    result = run("check", "-c", str(config))
    assert result.exit_code == 0
    assert "0.0.0.0:8080" in result.stdout
    data = json.loads(run("check", "-c", str(config), "-o", "json").stdout)
    assert data["valid"] is True
    assert list(data["services"]) == ["web"]


def test_a_bad_configuration_is_refused_with_every_error(run: Run, config: Path) -> None:
    config.write_text(BAD)
    result = run("check", "-c", str(config))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{config}:1: workers: 'x' is not a number of workers" in result.stderr
    assert f"{config}:2: services.web.pool: unknown key" in result.stderr


def test_for_scripts_the_errors_of_a_configuration_are_the_result(run: Run, config: Path) -> None:
    config.write_text(BAD)
    result = run("check", "-c", str(config), "-o", "json")
    assert result.exit_code == 2
    data = json.loads(result.stdout)
    assert data["valid"] is False
    assert {(problem["line"], problem["path"]) for problem in data["problems"]} >= {(1, "workers")}


def test_a_check_asks_nobody_and_offers_no_option_for_that(run: Run) -> None:
    shown = run("check", "--help").output
    assert [option in shown for option in ("--output", "--admin", "--token-file", "--ca")] == [
        True,
        False,
        False,
        False,
    ]


def test_the_schema_is_json(run: Run) -> None:
    assert "services" in json.loads(run("schema").stdout)["properties"]


def test_a_configuration_is_required(run: Run) -> None:
    assert [run("run").exit_code, run("check").exit_code] == [2, 2]


def test_a_reload_names_what_changed(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/reload", {"generation": 9, "changed": ["services.web.balance"]})
    result = run("reload", "--reason", "tuning")
    assert result.stdout == "reloaded  generation 9\n  services.web.balance\n"
    assert admin.last.body == {"reason": "tuning"}
    admin.says("POST /admin/reload", {"generation": 9, "changed": []})
    assert run("reload").stdout == "reloaded  generation 9\n  nothing has changed\n"


def test_a_refused_reload_names_every_error(admin: Admin, run: Run) -> None:
    problems = [{"line": 3, "path": "workers", "message": "has to be a number"}]
    admin.refuses(
        "POST /admin/reload", 422, "The configuration is not valid", "kept the old one", problems=problems
    )
    result = run("reload")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Refused: The configuration is not valid",
        "  kept the old one",
        "  line 3: workers: has to be a number",
    ]


def test_an_upgrade_names_the_new_process(admin: Admin, run: Run) -> None:
    admin.says("POST /admin/upgrade", {"pid": 77, "detail": "version 0.2.0 takes over"}, 202)
    assert run("upgrade").stdout == "upgrade started: process 77, version 0.2.0 takes over\n"


def test_a_completion_is_a_script(run: Run) -> None:
    assert "_BGPROXY_COMPLETE=zsh_complete" in run("completion", "zsh").stdout
    assert run("completion", "tcsh").exit_code == 2


@pytest.mark.parametrize("code", [0, 1])
def test_the_demo_exits_with_its_verdict(run: Run, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(story, "run", lambda: code)
    assert run("demo").exit_code == code


def test_run_becomes_the_supervisor(run: Run, monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    paths: list[str] = []
    monkeypatch.setattr(start, "run", paths.append)
    assert run("run", "-c", str(config)).exit_code == 0
    assert paths == [str(config)]
