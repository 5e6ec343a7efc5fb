from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from bgproxy.state.disk_thread import DiskThread

PATIENCE_S = 5.0


@pytest.fixture
def thread() -> Iterator[DiskThread]:
    thread = DiskThread("bgproxy-test")
    yield thread
    thread.end()


async def test_work_runs_elsewhere_and_its_result_comes_back(thread: DiskThread) -> None:
    name = await thread.run(lambda: threading.current_thread().name)
    assert name == "bgproxy-test"


async def test_an_error_is_for_whoever_waits_and_the_next_work_is_done(thread: DiskThread) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        await thread.run(_fail)
    assert await thread.run(lambda: 1) == 1


async def test_work_is_done_in_the_order_in_which_it_was_asked_for(thread: DiskThread) -> None:
    done: list[int] = []
    await asyncio.gather(*(thread.run(partial(done.append, number)) for number in range(100)))
    assert done == list(range(100))


async def test_the_loop_goes_on_while_work_waits(thread: DiskThread) -> None:
    released = threading.Event()
    waiting = thread.run(lambda: released.wait(PATIENCE_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    released.set()
    assert await waiting


async def test_work_that_nobody_waits_for_any_more_is_done(thread: DiskThread) -> None:
    released, done = threading.Event(), threading.Event()
    first = thread.run(lambda: released.wait(PATIENCE_S))
    second = thread.run(done.set)
    second.cancel()
    released.set()
    await first
    await thread.run(lambda: None)
    assert done.is_set()


async def test_what_was_asked_for_before_the_end_is_done() -> None:
    thread = DiskThread("bgproxy-test")
    work = thread.run(lambda: 1)
    thread.end()
    assert await work == 1


async def test_nothing_of_a_work_is_kept_after_it(thread: DiskThread) -> None:
    class Kept:
        pass

    kept, freed = Kept(), threading.Event()
    weakref.finalize(kept, freed.set)
    await thread.run(partial(id, kept))
    del kept
    assert await asyncio.to_thread(freed.wait, PATIENCE_S)


def test_a_loop_that_has_ended_meanwhile_does_not_end_the_thread() -> None:
    thread, released = DiskThread("bgproxy-test"), threading.Event()

    async def leave() -> None:
        thread.run(lambda: released.wait(PATIENCE_S))

    async def come() -> int:
        return await thread.run(lambda: 1)

    asyncio.run(leave())
    released.set()
    assert asyncio.run(come()) == 1
    thread.end()


# Private


def _fail() -> None:
    raise OSError("the disk is gone")
