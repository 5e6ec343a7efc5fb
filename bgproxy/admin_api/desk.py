"""What the handlers share: the switchboard, and the ways to the supervisor."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bgproxy.switch.calls import Call
from bgproxy.switch.switchboard import Switchboard


@dataclass(slots=True)
class Desk:
    """`reload` applies the configuration file and says what changed; `upgrade` says why not, if not."""

    board: Switchboard
    supervisor_pid: int
    listeners: list[tuple[str, str, str, bool]]  # name, bind, address, preview
    reload: Callable[[Call], Awaitable[list[str]]]
    upgrade: Callable[[Call], Awaitable[str | None]]
    started_at: float = field(default_factory=time.time)
    # (action, outcome) since the controller started
    switches: Counter[tuple[str, str]] = field(default_factory=Counter)
