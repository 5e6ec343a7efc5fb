"""One request that was answered differently, as the text that the controller shows.

It says what differs, not what was said: no query, no body, and of headers only values that are harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from bgproxy.mirroring.compare import Body, Comparison, HeaderDifference
from bgproxy.mirroring.json_paths import PathDifference

TARGET_CHARACTERS: Final = 256
NAME_CHARACTERS: Final = 64

_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Side:
    pool: str
    version: str
    upstream: str
    status: int
    body_bytes: int
    latency_us: int


@dataclass(frozen=True, slots=True)
class Difference:
    """`time` is Unix seconds; `path` is the request's, without its query."""

    time: float
    method: str
    path: str
    active: Side
    idle: Side
    differs: tuple[str, ...]
    body: Body
    headers: tuple[HeaderDifference, ...]
    json: tuple[PathDifference, ...]


def difference(
    time: float, method: bytes, target: bytes, active: Side, idle: Side, found: Comparison
) -> Difference:
    differs = {
        "status": found.status_differs,
        "headers": bool(found.headers),
        "body": found.body is Body.DIFFERENT,
    }
    return Difference(
        time=time,
        method=method.decode(),
        path=target.partition(b"?")[0].decode()[:TARGET_CHARACTERS],
        active=_shortened(active),
        idle=_shortened(idle),
        differs=tuple(what for what, does in differs.items() if does),
        body=found.body,
        headers=found.headers,
        json=found.paths,
    )


def encode(told: Difference, limit_bytes: int) -> bytes:
    """As JSON of at most so many bytes; what does not fit is left out, the last first."""
    while True:
        text = _ENCODER.encode(told)
        if len(text) <= limit_bytes:
            return text
        if told.json:
            told = replace(told, json=told.json[:-1])
        elif told.headers:
            told = replace(told, headers=told.headers[:-1])
        else:
            told = replace(told, path=told.path[: len(told.path) // 2])


# Private


def _shortened(side: Side) -> Side:
    return replace(side, pool=_name(side.pool), version=_name(side.version), upstream=_name(side.upstream))


def _name(text: str) -> str:
    """At most four bytes of JSON for each character, so that all names fit whatever they are."""
    return "".join(each if each.isprintable() else "?" for each in text[:NAME_CHARACTERS])
