"""`python -m benchmarks.wire`: every case against every proxy, and what came of it in a report."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Any, Final

from benchmarks import machine
from benchmarks.contenders import ContenderError
from benchmarks.wire import report
from benchmarks.wire.case import Case
from benchmarks.wire.cases import GROUPS
from benchmarks.wire.lane import Lane
from benchmarks.wire.proxies import PROXIES, Proxy, running

LANES: Final = 8
RESULTS: Final = Path(__file__).parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    chosen = [each for each in PROXIES if not options.proxy or each.name in options.proxy]
    cases = {
        group: tuple(case for case in cases if all(word in case.name for word in options.case))
        for group, cases in GROUPS.items()
    }
    facts = machine.circumstances("benchmarks.wire")
    facts["proxies"] = {}
    try:
        versions = {
            each.name: each.said_version() for each in chosen
        }  # what is missing is said before all else
        for proxy in chosen:
            result = {"version": versions[proxy.name], **asyncio.run(_judge(proxy, cases))}
            facts["proxies"][proxy.name] = result
            print(report.summary(proxy.name, result), flush=True)
    except ContenderError as error:
        print(error, file=sys.stderr)
        return 2
    facts["cases"] = {
        group: [
            {"name": each.name, "section": each.section, "right": each.right.expects} for each in chosen_cases
        ]
        for group, chosen_cases in cases.items()
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "wire.json").write_text(json.dumps(facts, indent=1) + "\n")
    (options.results / "wire.md").write_text(report.render(facts))
    ours = facts["proxies"].get("bgproxy")
    return 1 if ours is not None and any(ours["faults"].values()) else 0


# Private


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire", description=__doc__)
    parser.add_argument("--proxy", action="append", default=[], help="only this one (repeatable)")
    parser.add_argument(
        "--case", action="append", default=[], help="only cases with this in their name (repeatable)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where wire.json and wire.md go")
    return parser.parse_args(arguments)


async def _judge(proxy: Proxy, cases: dict[str, tuple[Case, ...]]) -> dict[str, Any]:
    """The faults by group and name of case; a case without one is not in there."""
    faults: dict[str, dict[str, str]] = {group: {} for group in cases}
    waiting = deque((group, case) for group, chosen in cases.items() for case in chosen)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"wire-{proxy.name}-")))
        lanes = [await stack.enter_async_context(Lane.opened()) for _ in range(min(LANES, len(waiting)))]
        await asyncio.gather(
            *(_start(proxy, lane, directory / str(number), stack) for number, lane in enumerate(lanes))
        )
        began = monotonic()
        await asyncio.gather(*(_run(lane, waiting, faults) for lane in lanes))
        took_s = round(monotonic() - began, 1)
    return {"took_s": took_s, "faults": faults}


async def _start(proxy: Proxy, lane: Lane, directory: Path, stack: AsyncExitStack) -> None:
    # In threads, because starting waits for an answer of the lane's own upstreams.
    context = running(proxy, directory, lane.ports)
    lane.proxy_port = await asyncio.to_thread(context.__enter__)
    stack.push_async_callback(asyncio.to_thread, context.__exit__, None, None, None)


async def _run(lane: Lane, waiting: deque[tuple[str, Case]], faults: dict[str, dict[str, str]]) -> None:
    while waiting:
        group, case = waiting.popleft()
        try:
            seen = await lane.run(case)
            fault = case.right.find_fault(seen)
            if seen.missed:
                fault = "; ".join([*seen.missed, *([fault] if fault else [])])
        except OSError as error:
            fault = f"the proxy takes no connections: {error}"
        if fault is not None:
            faults[group][case.name] = fault


if __name__ == "__main__":
    sys.exit(main())
