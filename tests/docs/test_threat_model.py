"""The threat model names a witness for every threat, and every witness exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.tables import EXPLANATION, rows, section

REPOSITORY = Path(__file__).parents[2]
PAGE = (EXPLANATION / "threat-model.md").read_text()
THREATS = rows(section(PAGE, "## Threats, and what stops them"))

LINK = re.compile(r"\[([^]]+)\]\(([^)]+)\)")


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0])
def test_every_threat_has_a_test_that_exists(row: list[str]) -> None:
    _, _, shown = row
    links = LINK.findall(shown)
    assert any(name.startswith("tests/") for name, _ in links), "no test shows it"
    for name, target in links:
        path = REPOSITORY / name
        assert path == (EXPLANATION / target).resolve()
        assert path.is_file()
        if path.name.startswith("test_"):
            assert "def test_" in path.read_text()


def test_every_file_that_is_named_anywhere_exists() -> None:
    named = re.findall(r"\b(?:tests|bgproxy|fuzz|benchmarks)/[\w/]+\.(?:py|md)\b", PAGE)
    assert len(named) > len(THREATS)
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_the_page_says_what_is_not_defended_and_what_forces_a_revision() -> None:
    for heading in ("## What is not defended", "## What forces a revision"):
        assert len(re.findall(r"^- ", section(PAGE, heading), re.MULTILINE)) >= 8
