"""The command of a benchmark: what it was asked for, what it found as JSON, report and plot, and how it ends.

Exit codes: 0 every promise is kept, 1 one is not, 2 nothing was measured, 130 interrupted. It must never measure anything itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders.process import ContenderError

RESULTS: Final = Path(__file__).parent / "results"
EXIT_IMPOSSIBLE: Final = 2
EXIT_INTERRUPTED: Final = 130

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """`name` is the benchmark's, of its files and of `make`. `errors` are what `measure` says that cannot be measured."""

    name: str
    parser: argparse.ArgumentParser  # whatever it has of its own; the rest is added
    measure: Callable[[argparse.Namespace], Json]
    errors: tuple[type[Exception], ...]
    render: Callable[[Json], str]
    draw: Callable[[Json, Path], object]
    is_kept: Callable[[Json], bool]

    def run(self, arguments: Sequence[str] | None) -> int:
        """Returns the exit code."""
        given = self._options(arguments)
        if given.render:
            return self._write(json.loads(given.render.read_text()), given.results or given.render.parent)
        # As ^C does, so that nothing that was started is left.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            result = self.measure(given)
        except self.errors as error:
            return self._fail(str(error), EXIT_IMPOSSIBLE)
        except FileNotFoundError as error:
            return self._fail(
                f"{error.filename} not found: `make {self.name}` as root installs it", EXIT_IMPOSSIBLE
            )
        except KeyboardInterrupt:
            return self._fail("interrupted; everything that was started has been stopped", EXIT_INTERRUPTED)
        results = given.results or RESULTS
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{self.name}.json").write_text(json.dumps(result, indent=1) + "\n")
        return self._write(result, results)

    # Private

    def _options(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        parser, files = self.parser, f"{self.name}.json, .md and .png"
        parser.add_argument("--rounds", type=int, default=5)
        parser.add_argument("--render", type=Path, metavar="JSON", help="measure nothing: the report of this")
        parser.add_argument("--results", type=Path, help=f"where {files} go; {RESULTS}")
        given = parser.parse_args(arguments)
        if given.rounds < 1 or given.seconds < 1:
            parser.error("--rounds and --seconds are at least 1")
        return given

    def _fail(self, why: str, code: int) -> int:
        tell(f"{self.name}: {why}")
        return code

    def _write(self, result: Json, results: Path) -> int:
        text = self.render(result)
        (results / f"{self.name}.md").write_text(text)
        self.draw(result, results / f"{self.name}.png")
        print(text)
        return 0 if self.is_kept(result) else 1


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """To which a benchmark adds what only it has, `--seconds` among it."""
    return argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)


def tell(what: str) -> None:
    """Progress, beside the report on standard output."""
    print(what, file=sys.stderr)


def two_cores() -> tuple[int, int]:
    """One for what is measured, and another one for load and upstreams."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise ContenderError("this process may use one core only: proxy and load need one each")
    return allowed[0], allowed[1]
