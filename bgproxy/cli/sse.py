"""Server-sent events: lines of bytes to events (WHATWG HTML, section 9.2.6). Pure.

Only what the admin API sends is understood: `id`, `event` and `data`, which is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


def parse(lines: Iterable[bytes]) -> Iterator[Event]:
    """An event that its empty line does not end is incomplete and is dropped, as the standard says."""
    last_id, kind, data = "", "", list[str]()
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Event(last_id, kind, json.loads("\n".join(data)))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                last_id = value
            case "event":
                kind = value
            case "data":
                data.append(value)
