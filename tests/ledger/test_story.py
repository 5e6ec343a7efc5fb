"""`bgproxy demo` is the main job of a newcomer: it has to work, and to say that nothing was lost."""

from __future__ import annotations

import asyncio
import sys

LIMIT_S = 60.0  # what is promised for the demonstration


async def test_the_demonstration_goes_through_and_loses_nothing() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bgproxy",
        "demo",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(LIMIT_S):
        told, _ = await process.communicate()
    text = told.decode()
    assert process.returncode == 0, text
    assert "Nothing was lost" in text
