"""What two programs have to agree on to share one memory, as a fingerprint.

In an upgrade the old workers read what the new controller writes, and the other way round. So it is not
only where the cells are: it is also what they mean, and which fields a snapshot has.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields

from bgproxy.model import (
    Canary,
    Hold,
    Match,
    PoolView,
    Preview,
    Retries,
    ServiceView,
    Sticky,
    Timeouts,
    UpstreamView,
)
from bgproxy.shared_memory import counters, layout

_TRAVELS = (Canary, Hold, Match, PoolView, Preview, Retries, ServiceView, Sticky, Timeouts, UpstreamView)


def fingerprint() -> str:
    """Equal for two programs if they can share a memory; changes with every constant and field involved."""
    numbers = [
        f"{module.__name__}.{name}={value}"
        for module in (layout, counters)
        for name, value in sorted(vars(module).items())
        if name.isupper() and isinstance(value, int | tuple)
    ]
    shapes = [
        f"{each.__name__}({', '.join(f'{one.name}: {one.type}' for one in fields(each))})"
        for each in _TRAVELS
    ]
    return hashlib.sha256("\n".join([*numbers, *shapes]).encode()).hexdigest()[:16]
