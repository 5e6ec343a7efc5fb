"""Where two JSON values differ, as paths such as `$.items[3].price`, and which paths do not count.

Tells the kinds of what is there, never the values, which may be about a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, NamedTuple

# A member's name, an element's index, or None for every element.
Step = str | int | None
Path = tuple[Step, ...]

# So many values of two documents are looked at, which takes about 50 ms, and so many at a time.
VALUES: Final = 50_000
VALUES_AT_ONCE: Final = 500
# Longer names and paths are cut: they come from a response.
NAME_CHARACTERS: Final = 40
PATH_CHARACTERS: Final = 120

_STEP: Final = re.compile(r"\.([A-Za-z0-9_-]+)|\[(?:\*|([0-9]+))\]")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_ABSENT: Final = object()


class TooMany(Exception):
    """There are more values than may be looked at."""


@dataclass(frozen=True, slots=True)
class PathDifference:
    path: str
    active: str  # a kind, see `kind`
    idle: str


def parse(path: str) -> Path:
    """The steps of a configured path, whose form the configuration has checked."""
    return tuple(
        step[1] if step[1] is not None else None if step[2] is None else int(step[2])
        for step in _STEP.finditer(path)
    )


def differences(
    active: object, idle: object, ignored: tuple[Path, ...] = ()
) -> Iterator[PathDifference | None]:
    """The places where they differ, in the order of the active side's text; without those ignored.

    None is a pause: a worker has other things to do. Raises `TooMany` when it has looked at `VALUES`.
    """
    # Not recursive: how deep it goes is up to who answered.
    levels: list[Iterator[_Place]] = [iter([_Place((), active, idle, ignored)])]
    looked_at = 0
    while levels:
        place = next(levels[-1], None)
        if place is None:
            levels.pop()
            continue
        looked_at += 1
        if looked_at % VALUES_AT_ONCE == 0:
            yield None
        if looked_at > VALUES:
            raise TooMany
        _, one, other, _ = place
        if isinstance(one, dict) and isinstance(other, dict):
            levels.append(_below(place, _members(one, other)))
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            levels.append(_below(place, zip(count(), one, other, strict=False)))
        elif not _equal(one, other):
            yield PathDifference(_written(place.steps), kind(one), kind(other))


def kind(value: object) -> str:
    """What a value is, without what it says."""
    if value is _ABSENT:
        return "absent"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return f"array of {len(value)}" if isinstance(value, list) else "object"


# Private


class _Place(NamedTuple):
    steps: Path
    active: Any
    idle: Any
    ignored: tuple[Path, ...]


def _members(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in one.items():
        yield name, value, other.get(name, _ABSENT)
    for name, value in other.items():
        if name not in one:
            yield name, _ABSENT, value


def _below(place: _Place, pairs: Iterable[tuple[str | int, Any, Any]]) -> Iterator[_Place]:
    for step, one, other in pairs:
        ignored = _behind(place.ignored, step)
        if ignored is not None:
            yield _Place((*place.steps, step), one, other, ignored)


def _equal(one: object, other: object) -> bool:
    """True is no 1 here, but 1.0 is: JSON has one kind of number."""
    return kind(one) == kind(other) and one == other


def _behind(ignored: tuple[Path, ...], step: Step) -> tuple[Path, ...] | None:
    """What is left of the paths behind `step`; None if one of them ends there."""
    if not ignored:
        return ignored
    left = tuple(
        path[1:] for path in ignored if path[0] == step or (path[0] is None and isinstance(step, int))
    )
    return left if all(left) else None


def _written(steps: tuple[Step, ...]) -> str:
    text = "$"
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = _shortened(str(step), NAME_CHARACTERS)
            text += f".{name}" if _PLAIN_NAME.fullmatch(str(step)) else f"[{json.dumps(name)}]"
        if len(text) > PATH_CHARACTERS:
            break
    return _shortened(text, PATH_CHARACTERS)


def _shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
