"""What was counted when somebody last said that it is right: one entry for each build of Python, in recorded.json.

Every number in that file was counted by that build.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.micro.callgrind import Counts

FILE: Final = Path(__file__).with_name("recorded.json")


@dataclass(frozen=True, slots=True)
class Build:
    """`python` is its version, `about` is for people only: a build is recognised by its references."""

    python: str
    about: str
    references: dict[str, float]
    parts: dict[str, float]

    @classmethod
    def of(cls, python: str, about: str, counts: Counts) -> Build:
        return cls(python, about, counts.references, counts.parts)

    @property
    def minor(self) -> str:
        return self.python.rpartition(".")[0]


def load(path: Path = FILE) -> list[Build]:
    return [Build(**each) for each in json.loads(path.read_text())]


def store(builds: Iterable[Build], path: Path = FILE) -> None:
    ordered = sorted(builds, key=lambda build: [int(each) for each in build.python.split(".")])
    path.write_text(json.dumps([asdict(build) for build in ordered], indent=1) + "\n")
