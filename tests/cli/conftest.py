from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from bgproxy.cli.main import program

from .admin import Admin, serving

Run = Callable[..., Result]
PROGRAM = [sys.executable, "-m", "bgproxy.cli.main"]


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ("BGPROXY_ADMIN", "BGPROXY_TOKEN", "BGPROXY_CA", "BGPROXY_CERT", "BGPROXY_KEY")
    for name in (*ours, "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def admin() -> Iterator[Admin]:
    with serving(Admin()) as served:
        yield served


@pytest.fixture
def run(admin: Admin) -> Run:
    """Runs `bgproxy`, in this process, against `admin`."""

    def call(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(program, arguments, env={"BGPROXY_ADMIN": admin.url, **environ})

    return call


@pytest.fixture
def start(admin: Admin) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `bgproxy` as a process of its own, against `admin`."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # type: ignore[call-overload]
            [*PROGRAM, *arguments],
            env={**os.environ, "BGPROXY_ADMIN": admin.url},
            **{"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield begin
    for process in started:
        process.kill()
        process.communicate()
