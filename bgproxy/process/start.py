"""Becoming a supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

# Without -P, Python would look for modules in the directory where it was started first: in a clone of the sources, it would
# run these instead of what is installed, and elsewhere whatever somebody has left there.
PROGRAM: Final = ("-P", "-m", "bgproxy.process")


def run(config_path: str) -> NoReturn:
    """Becomes the supervisor: replaces this process by a small one that has imported nothing else."""
    command = [sys.executable, *PROGRAM, "--config", str(Path(config_path).absolute())]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
