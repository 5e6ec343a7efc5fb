"""What is printed, and what is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.micro import __main__ as micro
from benchmarks.micro import recorded
from benchmarks.micro.callgrind import CountingError
from benchmarks.micro.guard import Verdict
from benchmarks.micro.recorded import Build

DEBIAN = Build("3.11.2", "Debian's", {"arithmetic": 60_000.0}, {"small": 40_000.0})
OTHER = Build("3.11.7", "another", {"arithmetic": 70_000.0}, {"small": 45_000.0})


def test_to_record_replaces_this_build_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    micro.record(DEBIAN, path)
    micro.record(OTHER, path)
    again = Build("3.11.2", "Debian's", {"arithmetic": 60_100.0}, {"small": 39_000.0})
    told = micro.record(again, path)
    assert recorded.load(path) == [again, OTHER]
    assert "record it also with another" in told


def test_the_table_has_instructions_change_and_nanoseconds() -> None:
    shown = micro.table(DEBIAN, {"small": 2_500.0}, Verdict("compared", {"small": 32_000.0}, []))
    assert shown.splitlines()[-1].split() == ["small", "40,000", "+25.0%", "2,500"]


def test_what_is_not_recorded_has_no_change() -> None:
    shown = micro.table(DEBIAN, {"small": 2_500.0}, Verdict("nothing is recorded", {}, []))
    assert shown.splitlines()[-1].split() == ["small", "40,000", "2,500"]


def test_if_nothing_can_be_counted_it_says_why_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Build:
        raise CountingError("valgrind is not installed")

    monkeypatch.setattr(micro, "build", fail)
    assert micro.main([]) == 2
    assert "valgrind is not installed" in capsys.readouterr().err
