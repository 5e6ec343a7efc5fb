"""The guard itself, which counts every part, and what it makes of counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.micro import guard, recorded
from benchmarks.micro.__main__ import build
from benchmarks.micro.guard import CLOSE, ROUGH, find_twin, judge
from benchmarks.micro.recorded import Build

DEBIAN = Build("3.11.2", "Debian's", {"arithmetic": 60_000.0, "bytes": 50_000.0}, {"small": 40_000.0})


def build_like(
    known: Build = DEBIAN, *, python: str = "3.11.2", references: float = 1.0, parts: float = 1.0
) -> Build:
    return Build(
        python,
        "counted",
        {name: cost * references for name, cost in known.references.items()},
        {name: cost * parts for name, cost in known.parts.items()},
    )


def test_every_part_costs_what_is_recorded() -> None:
    """Takes about 40 s. If it fails, its message has the parts and what to do."""
    verdict = judge(build(), recorded.load())
    if verdict.wrong:
        pytest.fail(guard.explain(verdict), pytrace=False)


@pytest.mark.parametrize("change", [-0.9 * CLOSE, 0.0, 0.9 * CLOSE])
def test_a_small_change_is_right(change: float) -> None:
    assert judge(build_like(parts=1 + change), [DEBIAN]).wrong == []


@pytest.mark.parametrize("change", [-1.1 * CLOSE, 1.1 * CLOSE])
def test_a_part_that_is_dearer_or_cheaper_is_named_with_its_change(change: float) -> None:
    (line,) = judge(build_like(parts=1 + change), [DEBIAN]).wrong
    assert line.startswith("small: ")
    assert "instead of 40,000" in line
    assert f"{change:+.1%}" in line


def test_whoever_sees_a_failure_is_told_how_to_record() -> None:
    told = guard.explain(judge(build_like(parts=2.0), [DEBIAN]))
    assert "80,000" in told
    assert guard.HOW_TO_RECORD in told


def test_a_build_is_recognised_by_what_its_references_cost_and_not_by_its_name() -> None:
    assert find_twin(build_like(python="3.11.9", references=1.005), [DEBIAN]) is DEBIAN
    assert find_twin(build_like(references=1.05), [DEBIAN]) is None


def test_one_reference_that_costs_something_else_makes_it_another_build() -> None:
    other = replace(DEBIAN, references={**DEBIAN.references, "bytes": 55_000.0})
    assert find_twin(other, [DEBIAN]) is None


def test_a_build_that_is_not_recorded_is_compared_roughly_by_the_cost_of_its_references() -> None:
    unknown = build_like(references=1.2, parts=1.2 * (1 + 0.9 * ROUGH))
    verdict = judge(unknown, [DEBIAN])
    assert verdict.wrong == []
    assert verdict.expected == {"small": pytest.approx(48_000)}
    assert judge(build_like(references=1.2, parts=1.2 * (1 + 1.1 * ROUGH)), [DEBIAN]).wrong


def test_the_nearest_of_several_recorded_builds_is_compared_with() -> None:
    far = build_like(references=1.5)
    assert "Debian's" in judge(build_like(references=1.05), [far, DEBIAN]).about


def test_a_version_that_nobody_has_recorded_is_not_compared_and_that_is_said() -> None:
    verdict = judge(build_like(python="3.14.0", parts=9.0), [DEBIAN])
    assert verdict.wrong == []
    assert "nothing is recorded for Python 3.14" in verdict.about


def test_a_part_without_a_record_and_a_record_without_a_part_are_wrong() -> None:
    renamed = replace(DEBIAN, parts={"smaller": 40_000.0})
    assert len(judge(renamed, [DEBIAN]).wrong) == 2
