"""One target, fuzzed by libFuzzer in a process of its own: `python -m fuzz.target request RESULT -runs=1000 CORPUS`.

A finding does not end the run. RESULT is a JSON file, written at the end: executions, what became of them, findings.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

import atheris

from fuzz import messages

with atheris.instrument_imports(include=["bgproxy.http1"]):
    from fuzz import properties

MOST_FINDINGS: Final = 20  # the first ones; more of them say nothing new


class Run:
    def __init__(self, target: str, result: Path, executions: int) -> None:
        self._property = getattr(properties, target)
        self._result = result
        self._left = executions
        self._began = monotonic()
        self._outcomes: Counter[str] = Counter()
        self._findings: list[dict[str, Any]] = []

    def once(self, data: bytes) -> None:
        try:
            self._outcomes[self._property(data)] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._outcomes["findings"] += 1
            if len(self._findings) < MOST_FINDINGS:
                self._findings.append({"bytes": data.hex(), "error": f"{type(error).__name__}: {error}"})
        self._left -= 1
        if self._left == 0:
            self._write()

    # Private

    def _write(self) -> None:
        result = {
            "executions": self._outcomes.total(),
            "seconds": round(monotonic() - self._began, 1),
            "outcomes": dict(sorted(self._outcomes.items())),
            "findings": self._findings,
        }
        self._result.write_text(json.dumps(result))


class Mutator:
    """A change of libFuzzer's own, one that knows of lines, or such a one of a message that is valid."""

    def __init__(self, target: str) -> None:
        self._seeds = messages.seeds(target)

    def __call__(self, data: bytes, most_bytes: int, seed: int) -> bytes:
        if seed % 3 == 0:
            return bytes(atheris.Mutate(data, most_bytes))
        if seed % 3 == 1:
            data = self._seeds[seed // 3 % len(self._seeds)]
        return messages.damaged(data, Random(seed))[:most_bytes]


if __name__ == "__main__":
    target, result, *options = sys.argv[1:]
    executions = next(int(option.partition("=")[2]) for option in options if option.startswith("-runs="))
    run = Run(target, Path(result), executions)
    atheris.Setup([sys.argv[0], *options], run.once, custom_mutator=Mutator(target))
    atheris.Fuzz()
