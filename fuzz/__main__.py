"""`python -m fuzz [target...]`: FUZZ_RUNS executions of every target, one after the other, and a report of them.

The runs are bounded by count, not by time, so that a slow machine finds what a fast one does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import machine
from fuzz import messages
from fuzz.properties import OUTCOMES

RESULTS: Final = Path(__file__).parent / "results"
DEFAULT_RUNS: Final = 1_000_000
LONGEST_INPUT_BYTES: Final = 1024
MOST_SHOWN: Final = 3  # findings of each target; the JSON has more


def fuzz(target: str, runs: int) -> dict[str, Any]:
    """Lets libFuzzer loose on one target, beginning with the valid messages and the dictionary."""
    with TemporaryDirectory(prefix="bgproxy-fuzz-") as folder:
        here = Path(folder)
        corpus, words, result, log = here / "corpus", here / "words", here / "result.json", here / "log"
        corpus.mkdir()
        for number, seed in enumerate(messages.seeds(target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in messages.dictionary()))
        options = [
            f"-runs={runs}",
            f"-dict={words}",
            f"-max_len={LONGEST_INPUT_BYTES}",
            "-keep_seed=1",
            "-len_control=0",
        ]
        options += [f"-artifact_prefix={here}/", "-verbosity=0"]
        command = [sys.executable, "-m", "fuzz.target", target, str(result), *options, str(corpus)]
        with log.open("wb") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        if not result.exists():
            raise SystemExit(
                f"{target} ended with {done.returncode} before its time:\n{log.read_text()[-4000:]}"
            )
        return {"target": target, **json.loads(result.read_text())}


def report(facts: dict[str, Any]) -> str:
    """The Markdown beside the JSON."""
    results = facts["results"]
    executions = sum(result["executions"] for result in results)
    findings = sum(result["outcomes"].get("findings", 0) for result in results)
    verdict = f"**{executions:,} executions, {findings:,} findings.**"
    rows = [
        f"| {result['target']} | {result['executions']:,} | {result['seconds']:,.0f} | "
        + " | ".join(f"{result['outcomes'].get(name, 0):,}" for name in (*OUTCOMES, "findings"))
        + " |"
        for result in results
    ]
    details = [
        f"- {result['target']}, bytes `{finding['bytes']}`: {finding['error']}"
        for result in results
        for finding in result["findings"][:MOST_SHOWN]
    ]
    return "\n".join(
        (
            "# Fuzzing the wire",
            "",
            verdict,
            "",
            (
                "Any bytes are parsed or refused, alike however they are cut, and whatever is forwarded re-parses, by "
                f"llhttp (httptools {facts['judges']['httptools']}) and by h11 {facts['judges']['h11']}, to the same "
                "single message with the same framing, with the next message right behind it. libFuzzer "
                f"(atheris {facts['judges']['atheris']}) mutates valid messages, with coverage of `bgproxy.http1`."
            ),
            "",
            machine.sentence(facts),
            "",
            f"| target | executions | seconds | {' | '.join(OUTCOMES)} | findings |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            *(("", *details) if details else ()),
            "",
        )
    )


def main() -> None:
    if find_spec("atheris") is None:
        raise SystemExit(
            "atheris is missing, which has wheels for Python 3.11 to 3.13: make fuzz PYTHON=python3.13"
        )
    runs = int(os.environ.get("FUZZ_RUNS", DEFAULT_RUNS))
    facts = machine.circumstances("fuzz")
    facts["judges"] = {name: version(name) for name in ("httptools", "h11", "atheris")}
    facts["results"] = []
    for target in sys.argv[1:] or messages.TARGETS:
        facts["results"].append(fuzz(target, runs))
        print(f"{target}: {facts['results'][-1]['outcomes']}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fuzz.json").write_text(json.dumps(facts, indent=2) + "\n")
    text = report(facts)
    (RESULTS / "fuzz.md").write_text(text)
    print(text)
    if any(result["findings"] for result in facts["results"]):
        sys.exit(1)


# Private


def _escaped(word: bytes) -> str:
    """As libFuzzer wants a dictionary's words."""
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
