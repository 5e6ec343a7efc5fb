"""How a benchmark ends is told by its exit code, and nothing is written that was not measured."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.command import Command, Json
from benchmarks.contenders import ContenderError


class NotToday(Exception):
    pass


def run(results: Path, *, kept: bool = True, error: BaseException | None = None) -> int:
    def measure(given: Namespace) -> Json:
        if error is not None:
            raise error
        return {"rounds": given.rounds}

    parser = command.parser("example", "An example.")
    parser.add_argument("--seconds", type=int, default=1)
    draw = lambda result, path: path.write_bytes(b"a picture")  # noqa: E731
    drawn = Command("example", parser, measure, (NotToday,), str, draw, lambda result: kept)
    return drawn.run(["--rounds", "3", "--results", str(results)])


@pytest.mark.parametrize(("kept", "code"), [(True, 0), (False, 1)])
def test_what_was_measured_is_stored_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bool, code: int
) -> None:
    assert run(tmp_path / "results", kept=kept) == code
    written = {path.name: path.read_text() for path in (tmp_path / "results").iterdir()}
    assert written == {
        "example.json": '{\n "rounds": 3\n}\n',
        "example.md": "{'rounds': 3}",
        "example.png": "a picture",
    }
    assert capsys.readouterr().out == "{'rounds': 3}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotToday("the machine is on holiday"), 2, "example: the machine is on holiday"),
        (
            FileNotFoundError(2, "", "nginx"),
            2,
            "example: nginx not found: `make example` as root installs it",
        ),
        (KeyboardInterrupt(), 130, "example: interrupted; everything that was started has been stopped"),
    ],
)
def test_where_nothing_was_measured_nothing_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    assert run(tmp_path / "results", error=error) == code
    assert not (tmp_path / "results").exists()
    assert capsys.readouterr().err == said + "\n"


def test_one_core_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3})
    with pytest.raises(ContenderError, match="one core only"):
        command.two_cores()
