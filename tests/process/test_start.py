"""What runs is what is installed, wherever it is started."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.running import spawned, write


async def test_what_lies_in_the_working_directory_is_never_run(tmp_path: Path) -> None:
    """As in a clone of the sources; and as in a directory that others may write to."""
    for name in ("bgproxy", "logging"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('from the working directory')\n")
    path = write(
        tmp_path, {"services": {"web": {"pools": {"blue": {"upstreams": ["127.0.0.1:1"]}, "green": {}}}}}
    )
    # As the command `bgproxy` starts: without the working directory.
    arguments = ("-P", "-m", "bgproxy", "run", "-c", str(path))
    async with spawned(*arguments, config=path, cwd=tmp_path) as running:
        await running.until_logged("ready: ")
        running.process.send_signal(signal.SIGUSR2)
        await running.until_logged("has taken over")
        assert await running.stop() == 0
