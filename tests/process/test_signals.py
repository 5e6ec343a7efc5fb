"""In a process of its own: handlers and the mask belong to the whole process."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGINNING = """
import os, select, signal
from bgproxy.process.signals import Signals

def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)

def taken():
    select.select([signals.reader], [], [], 10)
    return {signal.Signals(number).name for number in signals.take()}

signals = Signals()
signals.receive()
"""


@pytest.mark.parametrize(
    "script",
    [
        "send(signal.SIGHUP, signal.SIGTERM, signal.SIGHUP); assert taken() == {'SIGHUP', 'SIGTERM'}",
        "assert signals.take() == set()",
        "send(signal.SIGUSR1); signals.keep(); assert signal.sigpending() == {signal.SIGUSR1}",
        "signals.keep(); send(signal.SIGTERM); signals.resume(); assert taken() == {'SIGTERM'}",
    ],
    ids=["each once", "none", "unread ones wait for a successor", "a successor that never came"],
)
def test_no_signal_is_lost(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGINNING + script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
