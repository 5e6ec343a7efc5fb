"""Crews of real processes that do nothing, with the test at the other end of their control sockets."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from bgproxy.process import workforce
from bgproxy.process.child import Child
from bgproxy.process.crew import Crew
from bgproxy.process.inherited import Inherited
from bgproxy.process.listeners import Listeners
from bgproxy.process.loop import Loop
from bgproxy.process.plan import Plan
from bgproxy.process.workforce import Workforce
from bgproxy.shared_memory import layout
from bgproxy.shared_memory.layout import SharedMemory

PLAN = Plan((), workers=2, admin="127.0.0.1:0", shutdown_timeout_s=1.5)


class Hall:
    """Where workers sit: their processes and their ends of the control sockets, by process id."""

    def __init__(self) -> None:
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.ends: dict[int, socket.socket] = {}
        self.controls: list[socket.socket] = []
        self.refusals = 0
        self.loop = Loop()
        self.listeners = Listeners()
        self.listeners.take_inherited(PLAN, Inherited())
        self.workforce = Workforce(SharedMemory.create(), [], self.listeners, self.loop, self.fork)
        self.workforce.plan = PLAN

    def fork(self, role: str, run: Callable[[socket.socket], int], keep: Iterable[socket.socket]) -> Child:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        ours, theirs = socket.socketpair()
        self.processes[process.pid] = process
        self.ends[process.pid] = theirs
        self.controls.append(ours)
        return Child(role, process.pid, ours, time.monotonic())

    def told(self, pid: int) -> bytes:
        self.ends[pid].setblocking(False)
        try:
            return self.ends[pid].recv(1000)
        except BlockingIOError:
            return b""

    def end(self, pid: int) -> None:
        self.processes[pid].kill()
        self.workforce.exited(pid, self.processes[pid].wait())

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        for sock in (*self.ends.values(), *self.controls, *self.workforce.controls(), self.listeners.admin):
            sock.close()


@pytest.fixture
def hall() -> Iterator[Hall]:
    opened = Hall()
    yield opened
    opened.close()


def make_ready(crew: Crew) -> None:
    for place in crew.places:
        assert place.child is not None
        place.child.ready = True


def pids(crew: Crew) -> list[int]:
    return [place.child.pid for place in crew.places if place.child is not None]


def test_a_crew_retires_when_its_successor_is_ready_and_not_before(hall: Hall) -> None:
    old = hall.workforce.hire()
    make_ready(old)
    assert hall.workforce.settle()
    new = hall.workforce.hire()
    assert not hall.workforce.settle()
    assert hall.workforce.is_changing()
    assert [hall.told(pid) for pid in pids(old)] == [b"", b""]
    make_ready(new)
    assert hall.workforce.settle()
    assert [hall.told(pid) for pid in pids(old)] == [b"retire\n", b"retire\n"]
    assert {place.block for place in old.places}.isdisjoint({place.block for place in new.places})


def test_who_dies_is_replaced_in_the_same_place(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workforce, "pause_s", lambda deaths: 0.0)
    crew = hall.workforce.hire()
    first, second = pids(crew)
    hall.end(first)
    assert pids(crew)[1] == second
    assert pids(crew)[0] not in {first, second}


def test_who_dies_young_is_replaced_after_a_pause(hall: Hall) -> None:
    crew = hall.workforce.hire()
    first, _ = pids(crew)
    hall.end(first)
    assert len(pids(crew)) == 1
    hall.loop.turn()
    assert len(pids(crew)) == 2


def test_a_worker_that_cannot_be_started_is_tried_again(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workforce, "LONGEST_PAUSE_S", 0.0)
    hall.refusals = 1
    crew = hall.workforce.hire()
    assert len(pids(crew)) == 1
    hall.loop.after(0.0, lambda: None)
    hall.loop.turn()
    assert len(pids(crew)) == 2


def test_a_crew_that_does_not_get_ready_goes_and_the_old_one_stays(hall: Hall) -> None:
    old = hall.workforce.hire()
    make_ready(old)
    new = hall.workforce.hire()
    assert hall.workforce.dismiss(new)
    for pid in pids(new):
        code = hall.processes[pid].wait()
        assert code == -signal.SIGKILL
        hall.workforce.exited(pid, code)
    assert hall.workforce.settle()
    assert [hall.told(pid) for pid in pids(old)] == [b"", b""]
    assert [[pid for _, pid, _ in workers] for workers in hall.workforce.numbers()] == [pids(old)]


def test_the_only_crew_is_never_dismissed(hall: Hall) -> None:
    assert not hall.workforce.dismiss(hall.workforce.hire())


def test_nobody_is_replaced_while_all_drain(hall: Hall) -> None:
    crew = hall.workforce.hire()
    make_ready(crew)
    hall.workforce.drain()
    for pid in pids(crew):
        assert hall.told(pid) == b"drain 1.5\n"
        hall.end(pid)
    assert hall.workforce.is_gone()
    assert hall.workforce.numbers() == []
    assert not hall.workforce.settle()  # asked by a controller that is ready too late


def test_blocks_of_those_who_are_still_there_are_not_given_away(hall: Hall) -> None:
    assert hall.workforce.has_room(layout.BLOCKS)
    crew = hall.workforce.hire()
    assert not hall.workforce.has_room(layout.BLOCKS - 1)
    crew.retire()
    hall.end(pids(crew)[0])
    assert hall.workforce.has_room(layout.BLOCKS - 1)


def test_a_crew_of_a_predecessor_is_ready_and_is_handed_on_as_it_came(hall: Hall) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        fd = ours.detach()
        (child,) = hall.workforce.adopt([(5, os.getpid(), fd)])
        assert child.ready
        assert not hall.workforce.is_changing()
        assert hall.workforce.numbers() == [[(5, os.getpid(), fd)]]
