"""Becoming a supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn


def run(config_path: str) -> NoReturn:
    """Becomes the supervisor: replaces this process by a small one that has imported nothing else."""
    command = [
        sys.executable,
        "-m",
        "bgproxy.process",
        "--config",
        str(Path(config_path).absolute()),
    ]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
