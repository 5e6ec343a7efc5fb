"""The naive proxy's command line, and all that nobody writes in an afternoon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from benchmarks.contenders.program import Place, Program
from benchmarks.scenarios import Setting

_SCRIPT: Final = Path(__file__).with_name("naive_proxy.py")


def _write(place: Place) -> list[str]:
    command = [sys.executable, str(_SCRIPT), "--port", str(place.port), "--upstream", place.blue[0]]
    if place.setting is Setting.TLS:
        command += ["--certificate", str(place.certificate), "--key", str(place.key)]
    return command


NAIVE: Final = Program(
    "naive",
    _write,
    (sys.executable, "-c", "import aiohttp; print(aiohttp.__version__)"),
    "`pip install -e .`",
    versioned="aiohttp",
    cannot={
        Setting.WEBSOCKET: "it relays requests, not upgrades",
        Setting.CANARY: "it knows one upstream",
        Setting.STICKY: "it knows one upstream",
        Setting.ACCESS_LOG: "it writes none in JSON",
        Setting.UPSTREAMS: "it knows one upstream",
        Setting.SERVICES: "it knows one service",
    },
)
