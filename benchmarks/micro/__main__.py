"""`python -m benchmarks.micro`: what each part costs, in instructions and nanoseconds, beside what is recorded.

Ends with 0 only if every part costs what is recorded. With --record it writes recorded.json, and nothing else ever does.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.micro import guard, recorded, timing
from benchmarks.micro.callgrind import CountingError, count
from benchmarks.micro.guard import Verdict
from benchmarks.micro.recorded import Build


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description=__doc__)
    parser.add_argument("--record", action="store_true", help="what is counted now is right from now on")
    given = parser.parse_args(arguments)
    try:
        counted = build()
    except CountingError as error:
        print(f"micro: {error}", file=sys.stderr)
        return 2
    if given.record:
        print(record(counted))
        return 0
    verdict = guard.judge(counted, recorded.load())
    print(table(counted, timing.measure(), verdict))
    if verdict.wrong:
        print(guard.explain(verdict), file=sys.stderr)
    return 1 if verdict.wrong else 0


def build() -> Build:
    """The one that runs this, counted."""
    about = f"Python {platform.python_version()} ({platform.python_compiler()}, {platform.machine()})"
    return Build.of(platform.python_version(), about, count())


def record(counted: Build, path: Path = recorded.FILE) -> str:
    """Replaces this build's entry, and says whose entries are older now."""
    builds = recorded.load(path) if path.exists() else []
    twin = guard.find_twin(counted, builds)
    others = [each for each in builds if each is not twin]
    recorded.store([*others, counted], path)
    stale = "".join(f"\nIf a part has changed, record it also with {each.about}" for each in others)
    return f"recorded: {counted.about}{stale}"


def table(counted: Build, nanoseconds: dict[str, float], verdict: Verdict) -> str:
    width = max(map(len, counted.parts))
    lines = [counted.about, verdict.about, "", f"{'':{width}}  instructions   expected           ns"]
    for name, cost in counted.parts.items():
        before = verdict.expected.get(name)
        change = "         " if before is None else f"{cost / before - 1:+9.1%}"
        lines.append(f"{name:{width}}  {cost:12,.0f}  {change}  {nanoseconds[name]:11,.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
