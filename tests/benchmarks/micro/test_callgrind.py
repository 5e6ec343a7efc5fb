"""What is counted is what is written between the marks; the counting itself is tested by the guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.micro import callgrind
from benchmarks.micro.callgrind import CountingError


def test_without_valgrind_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CountingError, match="apt-get install valgrind"):
        callgrind.count()


def test_a_run_that_fails_is_told_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callgrind, "_MODULE", ("-c", "raise SystemExit('no such module')"))
    with pytest.raises(CountingError, match="no such module"):
        callgrind.count()


def test_a_run_without_marks_is_an_error_and_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callgrind, "_MODULE", ("-c", ""))
    with pytest.raises(CountingError, match="has not seen every mark"):
        callgrind.count()
