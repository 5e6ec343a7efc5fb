"""What kind of wheel is built: compiled where that can be done, and never silently another one than was asked for.

That what is compiled works is for `make test-compiled`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hatch_build

REPOSITORY = Path(__file__).parents[1]
NO_COMPILER = "/no/such/compiler"
BROKEN_COMPILER = "false"


def test_without_a_compiler_the_sources_are_installed_as_they_are_and_it_says_so(tmp_path: Path) -> None:
    done = build(tmp_path, CC=NO_COMPILER)
    assert done.returncode == 0, done.stderr
    assert "bgproxy is installed as it is: there is no compiler." in done.stderr
    assert [wheel.name.split("-", 2)[2] for wheel in tmp_path.iterdir()] == ["py3-none-any.whl"]


def test_nothing_is_said_if_it_was_not_to_be_compiled(tmp_path: Path) -> None:
    done = build(tmp_path, BGPROXY_COMPILE="0")
    assert done.returncode == 0, done.stderr
    assert "as it is" not in done.stderr


def test_without_a_compiler_it_is_not_installed_if_a_compiled_one_was_asked_for(tmp_path: Path) -> None:
    done = build(tmp_path, CC=NO_COMPILER, BGPROXY_COMPILE="1")
    assert done.returncode != 0
    assert "cannot be compiled: there is no compiler.\nIt takes a C compiler" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_misspelt_wish_is_not_taken_for_none(tmp_path: Path) -> None:
    done = build(tmp_path, BGPROXY_COMPILE="yes")
    assert done.returncode != 0
    assert "BGPROXY_COMPILE is 'yes': 1 compiles or fails, 0 does not compile" in done.stderr


def test_a_compiler_that_fails_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", BROKEN_COMPILER)
    with pytest.raises(hatch_build.CannotCompileError, match="false"):
        hatch_build.compiled(REPOSITORY, ["bgproxy/http1/limits.py"], tmp_path)


@pytest.mark.parametrize(
    ("wish", "compiler", "wanted"),
    [("", "sh", True), ("", NO_COMPILER, False), ("0", "sh", False), ("1", "sh", True)],
)
def test_what_is_not_said_depends_on_the_compiler(
    wish: str, compiler: str, wanted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("BGPROXY_COMPILE", wish)
    assert hatch_build.is_wanted() is wanted


def build(directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "BGPROXY_COMPILE"} | more
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
