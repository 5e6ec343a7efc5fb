from __future__ import annotations

import os
import pty
import time
import tty

import pytest

from bgproxy.cli.keyboard import Keyboard


@pytest.fixture
def keys() -> tuple[int, Keyboard]:
    ours, theirs = pty.openpty()
    tty.setcbreak(theirs)
    return ours, Keyboard(theirs)


def test_q_ends_the_waiting_at_once(keys: tuple[int, Keyboard]) -> None:
    typed, keyboard = keys
    os.write(typed, b"q")
    started = time.monotonic()
    assert keyboard.left_within(30)
    assert time.monotonic() - started < 10


def test_other_keys_do_not_shorten_the_waiting(keys: tuple[int, Keyboard]) -> None:
    typed, keyboard = keys
    os.write(typed, b"x")
    started = time.monotonic()
    assert not keyboard.left_within(0.05)
    assert time.monotonic() - started >= 0.05


def test_without_a_terminal_it_only_waits() -> None:
    started = time.monotonic()
    assert not Keyboard(None).left_within(0.02)
    assert time.monotonic() - started >= 0.02
