"""What two answers to one request differ in.

Statuses and the configured headers have to be equal. Bodies are compared by their digests, and where both are
JSON by what they mean, without the configured paths. What cannot be compared is said, never taken for equal.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from bgproxy.http1.head import ResponseHead
from bgproxy.mirroring import json_paths
from bgproxy.mirroring.answer import Answer
from bgproxy.mirroring.json_paths import PathDifference, TooMany
from bgproxy.mirroring.live import LiveMirror

# So many paths of a body, and headers, are told.
PATHS: Final = 5
HEADERS: Final = 8
VALUE_CHARACTERS: Final = 80

# The headers whose values are told: they are about the resource, not about who asked for it.
_TOLD: Final = frozenset(
    {b"cache-control", b"content-encoding", b"content-language", b"content-type", b"location", b"vary"}
)


_Found = tuple["Body", tuple[PathDifference, ...]]


class Body(StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    TOO_LARGE = "too_large"  # not compared: too many bytes, or too many values of JSON
    UNFINISHED = "unfinished"  # not compared


@dataclass(frozen=True, slots=True)
class HeaderDifference:
    """A value is None where the header is not there, and "(not shown)" where it may be a secret."""

    name: str
    active: str | None
    idle: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    status_differs: bool
    headers: tuple[HeaderDifference, ...]
    body: Body
    paths: tuple[PathDifference, ...] = ()

    @property
    def is_same(self) -> bool:
        return not (self.status_differs or self.headers or self.body is Body.DIFFERENT)


def compare(active: Answer, idle: Answer, mirror: LiveMirror) -> Generator[None, None, Comparison]:
    """Compares two answers that have their heads, and pauses where that takes its time."""
    assert active.head is not None  # noqa: S101 - as the caller has seen
    assert idle.head is not None  # noqa: S101
    headers = _headers(active.head, idle.head, mirror.headers)
    body, paths = yield from _bodies(active, idle, mirror)
    return Comparison(active.head.status != idle.head.status, headers, body, paths)


# Private


def _headers(
    active: ResponseHead, idle: ResponseHead, names: tuple[bytes, ...]
) -> tuple[HeaderDifference, ...]:
    found = []
    for name in names:
        one, other = values(active, name), values(idle, name)
        if one != other:
            found.append(HeaderDifference(name.decode(), _told(name, one), _told(name, other)))
    return tuple(found[:HEADERS])


def values(head: ResponseHead, name: bytes) -> list[bytes]:
    """All values of a header of that (lower-case) name, in their order."""
    block = head.fields.raw
    lower = head.fields.lower  # one newline longer, in front
    mark = b"\n" + name + b":"
    found = []
    start = lower.find(mark)
    while start >= 0:
        begin = start + len(mark) - 1
        end = block.find(b"\r", begin)
        found.append(block[begin:end].strip(b" \t"))
        start = lower.find(mark, end)
    return found


def _told(name: bytes, found: list[bytes]) -> str | None:
    if not found:
        return None
    if name not in _TOLD:
        return "(not shown)"
    value = b", ".join(found)
    if name == b"location":
        value = value.partition(b"?")[0]
    text = value.decode("ascii", "replace")
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"


def _bodies(active: Answer, idle: Answer, mirror: LiveMirror) -> Generator[None, None, _Found]:
    if not (active.is_whole and idle.is_whole):
        larger = max(active.size_bytes, idle.size_bytes) > mirror.body_bytes
        return (Body.TOO_LARGE if larger else Body.UNFINISHED), ()
    if active.digest == idle.digest:
        return Body.SAME, ()
    one, other = active.json_text, idle.json_text
    if one is None or other is None:
        return Body.DIFFERENT, ()
    return (yield from _json_bodies(one, other, mirror.ignored))


def _json_bodies(
    one: bytes, other: bytes, ignored: tuple[json_paths.Path, ...]
) -> Generator[None, None, _Found]:
    paths: list[PathDifference] = []
    try:
        active = msgspec.json.decode(one)
        yield
        idle = msgspec.json.decode(other)
        for place in json_paths.differences(active, idle, ignored):
            if place is None:
                yield
                continue
            paths.append(place)
            if len(paths) == PATHS:
                break
    except (msgspec.MsgspecError, RecursionError):  # it is no JSON, or nested beyond all reason
        return Body.DIFFERENT, ()
    except TooMany:
        return (Body.DIFFERENT if paths else Body.TOO_LARGE), tuple(paths)
    return (Body.DIFFERENT if paths else Body.SAME), tuple(paths)
