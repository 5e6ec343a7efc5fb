"""Small valid values for the tests of this folder, and how they start another process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from bgproxy.model import Canary, Desired, Match, Pool, ServiceState, Upstream
from bgproxy.state.base import HistoryEntry, StateStore

REPOSITORY = Path(__file__).parents[2]
CHILD_TIMEOUT_S = 20.0


def desired(generation: int, active: str = "green") -> Desired:
    web = ServiceState(
        active=active,
        previous="blue",
        canary=Canary(weight=5, match=(Match("header", "X-Beta", "1"),), salt="r1"),
        pools={"green": Pool("v2", (Upstream("10.0.0.1:80", 3), Upstream("unix:/run/app.sock")))},
        drain_until=1_700_000_000.5,
        generation=generation,
    )
    return Desired(generation, {"web": web})


def entry(*services: str, **fields: object) -> HistoryEntry:
    base = HistoryEntry(
        time=1.5, action="switch", services=services or ("web",), actor="ci", reason="v2", outcome="done"
    )
    return replace(base, **fields)  # type: ignore[arg-type]


async def commit_up_to(store: StateStore, generation: int) -> None:
    newest = await store.load()
    for expected in range(newest.generation if newest else 0, generation):
        await store.commit(desired(expected + 1), entry(), expected_generation=expected)


def start_child(act: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.state.child", act, str(path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_child(act: str, path: Path) -> list[str]:
    """What it said; it has to end well by itself."""
    with start_child(act, path) as child:
        output, _ = child.communicate(timeout=CHILD_TIMEOUT_S)
    assert child.returncode == 0
    return output.splitlines()
