"""The file of what was counted."""

from __future__ import annotations

from pathlib import Path

from benchmarks.micro import recorded
from benchmarks.micro.catalogue import PARTS
from benchmarks.micro.recorded import Build
from benchmarks.micro.reference import REFERENCES

BUILD = Build("3.11.2", "Debian's", {"arithmetic": 1.5}, {"small": 2.5})
LATER = Build("3.11.10", "another", {"arithmetic": 1.0}, {"small": 2.0})


def test_what_is_stored_is_loaded_again_in_the_order_of_versions(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    recorded.store([LATER, BUILD], path)
    assert recorded.load(path) == [BUILD, LATER]


def test_every_recorded_build_has_every_part_and_every_reference() -> None:
    for build in recorded.load():
        assert build.parts.keys() == {part.name for part in PARTS}, build.about
        assert build.references.keys() == {part.name for part in REFERENCES}, build.about


def test_no_two_parts_have_the_same_name() -> None:
    names = [part.name for part in (*REFERENCES, *PARTS)]
    assert len(set(names)) == len(names)


def test_the_minor_version_is_what_builds_have_in_common() -> None:
    assert BUILD.minor == LATER.minor == "3.11"
