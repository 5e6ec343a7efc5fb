from __future__ import annotations

import io
import sys

import pytest

from bgproxy.cli.progress import waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("file", "shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_waiting_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, file: io.StringIO, shown: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setenv("TERM", "xterm")
    with waiting("requests wait [for it]"):
        pass
    assert ("requests wait [for it]" in file.getvalue()) is shown
