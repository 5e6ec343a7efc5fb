"""Programs that would misread each other's memory have different fingerprints."""

from __future__ import annotations

from dataclasses import make_dataclass

import pytest

from bgproxy import model
from bgproxy.shared_memory import counters, layout, mirrors
from bgproxy.shared_memory.contract import fingerprint


def test_the_same_program_has_the_same_fingerprint() -> None:
    assert fingerprint() == fingerprint()


@pytest.mark.parametrize(
    ("module", "name"), [(layout, "BLOCKS"), (counters, "HELD"), (counters, "PARKED"), (mirrors, "FAILED")]
)
def test_a_cell_that_has_moved_makes_another(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    before = fingerprint()
    monkeypatch.setattr(module, name, 9999)
    assert fingerprint() != before


def test_a_field_of_a_snapshot_makes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    other = make_dataclass("Hold", [("id", int), ("until", int)])
    monkeypatch.setattr(model, "Hold", other)
    assert fingerprint() != before
