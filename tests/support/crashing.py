"""bgproxy that kills its own controller at a chosen point of a switch, once.

Run as a program: `python -m tests.support.crashing POINT FLAG --config FILE`. The crash happens while the
file FLAG exists, which is removed first, so that the successor lives.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from bgproxy.process import __main__ as program
from bgproxy.state.base import HistoryEntry
from bgproxy.state.sqlite import SqliteStore
from bgproxy.switch.switchboard import Switchboard

POINTS = ("before_write", "after_sync", "after_publish", "before_answer")


def main(point: str, flag: Path, arguments: list[str]) -> int:
    def crash_at(here: str) -> None:
        if here == point and flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    commit, publish, switch = SqliteStore.commit, Switchboard.publish, Switchboard.switch
    committed: list[HistoryEntry] = []

    async def crashing_commit(self: SqliteStore, desired: Any, history: HistoryEntry, **rest: Any) -> Any:
        if history.action == "switch":
            crash_at("before_write")
        entry = await commit(self, desired, history, **rest)
        if history.action == "switch":
            committed.append(entry)
            crash_at("after_sync")
        return entry

    def crashing_publish(self: Switchboard) -> None:
        publish(self)
        if committed:
            crash_at("after_publish")

    async def crashing_switch(self: Switchboard, *positional: Any, **named: Any) -> Any:
        answer = await switch(self, *positional, **named)
        crash_at("before_answer")
        return answer

    SqliteStore.commit = crashing_commit  # type: ignore[method-assign]
    Switchboard.publish = crashing_publish  # type: ignore[method-assign]
    Switchboard.switch = crashing_switch  # type: ignore[method-assign]
    return program.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
