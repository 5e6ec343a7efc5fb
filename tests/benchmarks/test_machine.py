import sys

import pytest

from benchmarks import machine


def test_circumstances_are_those_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/cpu.py", "--rounds", "2"])
    facts = machine.circumstances("benchmarks.cpu")
    assert facts["command"] == "python -m benchmarks.cpu --rounds 2"
    assert facts["machine"]["cores"] >= 1
    assert facts["machine"]["memory_mib"] > 0
    assert facts["versions"]["python"] == sys.version.split()[0]
    assert facts["versions"]["bgproxy"].startswith("0.")


def test_a_program_that_is_not_there_has_no_version() -> None:
    assert machine._said("no-such-program-anywhere") == ""
    assert machine._first(r"version (\d+)", "") == "none"
