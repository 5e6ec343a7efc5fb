import argparse
import os
import shutil

import pytest

from benchmarks import cpu
from benchmarks.cpu import NotPossible


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


def test_a_missing_program_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "wrk" else f"/bin/{name}")
    with pytest.raises(NotPossible, match=r"^wrk not found: .*apt-get install"):
        cpu._prepare()


def test_numbers_of_rounds_are_positive() -> None:
    assert cpu._positive("3") == 3
    with pytest.raises(argparse.ArgumentTypeError):
        cpu._positive("0")


def test_the_comparison_of_workers_has_no_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cpu.main(["--workers", "--scenario", "post"])
    assert "leave out --scenario" in capsys.readouterr().err
