from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bgproxy.shared_memory.layout import SharedMemory

REPOSITORY = Path(__file__).parents[2]
CHILD_TIMEOUT_S = 20.0
TEST_TIMEOUT_S = 30.0

Child = subprocess.Popen[str]
Start = Callable[..., Child]


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    """What is broken here often waits for ever: for a word, a seal or a ring."""

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError(f"the test took more than {TEST_TIMEOUT_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, TEST_TIMEOUT_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory.create()
    yield memory
    os.close(memory.fd)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an act of `child.py` and hands it the descriptors; kills what a failed test leaves behind."""
    children: list[Child] = []

    def start_child(act: str, *arguments: object, fds: tuple[int, ...]) -> Child:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.shared_memory.child", act, *map(str, (*fds, *arguments))],
            cwd=REPOSITORY,
            pass_fds=fds,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start_child
    for child in children:
        child.kill()
        child.communicate()


def said(child: Child) -> str:
    """The next line that the child said; empty if it has ended."""
    assert child.stdout
    return child.stdout.readline().strip()


def finished(child: Child) -> str:
    """What it said last; it has to end well by itself."""
    output, _ = child.communicate(timeout=CHILD_TIMEOUT_S)
    assert child.returncode == 0
    return output.strip()
