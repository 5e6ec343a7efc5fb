"""Where and with what a result was made, so that it can be judged and made again. Reads only."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bgproxy


def circumstances(module: str) -> dict[str, Any]:
    """The beginning of every result; `module` is what `python -m` was told to run."""
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mib": int(_first(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())) // 1024,
            "kernel": platform.release(),
            "virtual": " hypervisor " in Path("/proc/cpuinfo").read_text(),
            "load_average": [round(value, 2) for value in os.getloadavg()],
        },
        "versions": {
            "bgproxy": f"{bgproxy.__version__} ({_commit()})",
            "python": platform.python_version(),
            "uvloop": version("uvloop"),
            "nginx": _first(r"nginx/([\d.]+)", _said("nginx", "-v")),
            "wrk": _first(r"([\d.]+\S*) \[", _said("wrk", "-v")),
        },
    }


def sentence(facts: dict[str, Any]) -> str:
    """The circumstances for a reader of the report."""
    machine, versions = facts["machine"], facts["versions"]
    kind = "virtual machine" if machine["virtual"] else "machine"
    names = ", ".join(f"{name} {number}" for name, number in versions.items() if number != "none")
    return (
        f"{facts['date']}, {kind} with {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_mib']} MiB, Linux {machine['kernel']}; {names}. Made by `{facts['command']}`."
    )


# Private


def _commit() -> str:
    here = Path(__file__).parent
    commit = _said("git", "-C", str(here), "rev-parse", "--short", "HEAD").strip()
    if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        return "no commit"
    changed = _said("git", "-C", str(here), "status", "--porcelain", "--untracked-files=no").strip()
    return f"{commit}, with changes" if changed else commit


def _said(*command: str) -> str:
    """Both outputs of a short command; nothing if there is no such program."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else "none"
