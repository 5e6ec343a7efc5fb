"""What two programs have to agree on to share one memory, as a fingerprint.

In an upgrade the old workers read what the new controller writes, and the other way round. So it is not
only where the cells are: it is also what they mean, and which fields a snapshot has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from bgproxy.model import ServiceView
from bgproxy.shared_memory import clients, counters, layout, mirrors


def fingerprint() -> str:
    """Equal for two programs if they can share a memory; changes with every constant and field involved."""
    numbers = [
        f"{module.__name__}.{name}={value}"
        for module in (layout, clients, counters, mirrors)
        for name, value in sorted(vars(module).items())
        if name.isupper() and isinstance(value, int | tuple)
    ]
    shapes = sorted(set(_shapes(ServiceView)))
    return hashlib.sha256("\n".join([*numbers, *shapes]).encode()).hexdigest()[:16]


# Private


def _shapes(kind: Any) -> Iterator[str]:
    """A line for each dataclass that `kind` is made of."""
    for argument in get_args(kind):
        yield from _shapes(argument)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        yield f"{kind.__name__}({', '.join(f'{one.name}: {one.type}' for one in fields(kind))})"
        for hint in hints.values():
            yield from _shapes(hint)
