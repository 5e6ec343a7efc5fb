from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterator

import pytest

from bgproxy.shared_memory.wake import Bell, ring_all
from tests.shared_memory.conftest import Start, finished

WAKE_TIMEOUT_S = 10.0


@pytest.fixture(params=["eventfd", "pipe"])
def bell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bell]:
    if request.param == "pipe":
        monkeypatch.delattr(os, "eventfd")
    bell = Bell()
    assert len(set(bell.fds)) == (2 if request.param == "pipe" else 1)
    yield bell
    for fd in set(bell.fds):
        os.close(fd)


def is_ringing(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def test_a_bell_rings_until_it_is_silenced(bell: Bell) -> None:
    assert not is_ringing(bell)
    bell.ring()
    assert is_ringing(bell)
    bell.silence()
    assert not is_ringing(bell)
    bell.ring()
    assert is_ringing(bell)


def test_rings_before_a_look_are_one(bell: Bell) -> None:
    for _ in range(3):
        bell.ring()
    bell.silence()
    assert not is_ringing(bell)


def test_a_bell_that_nobody_hears_never_blocks_and_is_still_one_ring(bell: Bell) -> None:
    """Far more than a pipe holds."""
    for _ in range(100_000):
        bell.ring()
    bell.silence()
    assert not is_ringing(bell)
    bell.ring()
    assert is_ringing(bell)


def test_a_full_eventfd_does_not_block() -> None:
    bell = Bell()
    fd, _ = bell.fds
    os.eventfd_write(fd, 2**64 - 2)
    bell.ring()
    assert is_ringing(bell)
    bell.silence()
    assert not is_ringing(bell)
    os.close(fd)


def test_silencing_a_silent_bell_does_not_block(bell: Bell) -> None:
    """Somebody else may have taken the ring."""
    bell.silence()
    assert not is_ringing(bell)


def test_all_bells_ring(bell: Bell) -> None:
    other = Bell(bell.fds)
    ring_all([bell, other])
    assert is_ringing(other)
    other.silence()
    assert not is_ringing(bell)


def test_another_program_rings_the_bell_that_it_was_given(bell: Bell, start: Start) -> None:
    child = start("ring", fds=bell.fds)
    assert select.select([bell], [], [], WAKE_TIMEOUT_S)[0]
    finished(child)


def test_a_fork_rings_the_bell_that_it_inherited(bell: Bell, start: Start) -> None:
    assert finished(start("be_woken_by_a_fork", fds=bell.fds)) == "woken"


async def test_a_bell_wakes_an_event_loop(bell: Bell) -> None:
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    loop.add_reader(bell.fileno(), woken.set)
    loop.call_soon(bell.ring)
    async with asyncio.timeout(WAKE_TIMEOUT_S):
        await woken.wait()
    loop.remove_reader(bell.fileno())
