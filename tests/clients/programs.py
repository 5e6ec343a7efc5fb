"""Programs that are not ours, run as their users run them."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass

import pytest

PATIENCE_S = 30.0

# The machine's own proxy is none of our business.
ENVIRON = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def program(name: str) -> str:
    """Its path. Without it the test fails: what is not tested is not known to work."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: run `make test` as root once, or `apt-get install {name}`")
    return path


@dataclass
class Ended:
    """What a program has written, and the exit code with which it has ended."""

    code: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        """The output of a program that has done what it was asked to."""
        assert self.code == 0, f"exit code {self.code}: {self.errors}"
        return self.output.decode()


async def ended(*command: str, stdin: bytes = b"") -> Ended:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRON,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            output, errors = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, output, errors.decode(errors="replace"))
