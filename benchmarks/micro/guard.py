"""Whether a count is still what was recorded. Pure.

Builds of one version of Python differ by up to a quarter from each other, and in each part by another share, so no
factor makes the counts of one into those of another. A build whose references cost what a recorded one's cost *is* that
build, and is compared closely. Another one of the same minor version is compared roughly, and one of a version that
nobody has recorded is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import geometric_mean
from typing import Final, NamedTuple

from benchmarks.micro.recorded import Build

# Of one build repeated runs differ by 0.4 % at most, also where the heap is another one from the start.
CLOSE: Final = 0.02
SAME_BUILD: Final = 0.01
# Parts of a Python 3.11.7 that was configured without --enable-optimizations cost 0.97 to 1.22 times what its
# references let expect from Debian's 3.11.2.
ROUGH: Final = 0.4

HOW_TO_RECORD: Final = "python -m benchmarks.micro --record"


class Verdict(NamedTuple):
    """`expected` has what each part should cost, `about` says where that is from, `wrong` has a line for each that does not."""

    about: str
    expected: dict[str, float]
    wrong: list[str]


def judge(counted: Build, recorded: Iterable[Build]) -> Verdict:
    same_minor = [build for build in recorded if build.minor == counted.minor]
    if not same_minor:
        about = f"nothing is recorded for Python {counted.minor}, so nothing is compared"
        return Verdict(f"{about}; to record this build: {HOW_TO_RECORD}", {}, [])
    twin = find_twin(counted, same_minor)
    if twin is not None:
        wrong = _compare(counted.parts, twin.parts, CLOSE)
        return Verdict(f"compared with what is recorded for {twin.about}", twin.parts, wrong)
    nearest = min(same_minor, key=lambda build: _distance(counted, build))
    factor = geometric_mean(_ratios(counted, nearest))
    expected = {name: factor * cost for name, cost in nearest.parts.items()}
    about = f"this build of Python is not recorded, so it is only compared roughly with {nearest.about}"
    return Verdict(
        f"{about}; to record it: {HOW_TO_RECORD}", expected, _compare(counted.parts, expected, ROUGH)
    )


def find_twin(counted: Build, recorded: Iterable[Build]) -> Build | None:
    """The recorded build that this one is, whatever it is called."""
    for build in recorded:
        if (
            build.minor == counted.minor
            and build.references.keys() == counted.references.keys()
            and _distance(counted, build) <= SAME_BUILD
        ):
            return build
    return None


def explain(verdict: Verdict) -> str:
    """What is wrong and what to do, for whoever made the change."""
    return "\n".join(
        (
            f"{len(verdict.wrong)} parts do not cost what they did ({verdict.about}):",
            *(f"  {each}" for each in verdict.wrong),
            f"If that is meant, also where a part has become cheaper, record it: {HOW_TO_RECORD}",
        )
    )


# Private


def _compare(counted: Mapping[str, float], expected: Mapping[str, float], tolerance: float) -> list[str]:
    wrong = []
    for name, cost in counted.items():
        before = expected.get(name)
        if before is None:
            wrong.append(f"{name}: {cost:,.0f} instructions, and nothing is recorded")
        elif abs(cost / before - 1) > tolerance:
            change = f"{cost / before - 1:+.1%}, more than ±{tolerance:.0%}"
            wrong.append(f"{name}: {cost:,.0f} instructions instead of {before:,.0f} ({change})")
    wrong += [f"{name}: recorded, but there is no such part" for name in expected.keys() - counted.keys()]
    return wrong


def _ratios(one: Build, other: Build) -> list[float]:
    return [
        cost / other.references[name] for name, cost in one.references.items() if name in other.references
    ]


def _distance(one: Build, other: Build) -> float:
    return max(abs(ratio - 1) for ratio in _ratios(one, other))
