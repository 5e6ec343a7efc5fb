"""One proxy's run: its apps, its clients, its switches at random moments. Afterwards the books know all that happened.

It must never retry a switch, leave out a request, or treat one proxy differently from another.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from benchmarks.contenders import ContenderError, process
from benchmarks.cutover import cpu, levers
from benchmarks.cutover.peers import Peer
from benchmarks.cutover.place import Place
from benchmarks.cutover.yardstick import Commit, Yardstick
from benchmarks.zero_downtime_report import Switch
from bgproxy.demo.ledger import NEAR_S, Change, Kind, Ledger
from bgproxy.demo.results import FLUSH_S, ResultReader
from bgproxy.demo.stage import SIDES, Stage, StageError

# Between a client's requests: a busy machine, but one that is not measured at its limit.
THINK_S: Final = 0.02
# Without switches at both ends, so that there is something to compare with.
MARGIN_S: Final = 1.0
# What is near one switch is then not near another, nor near a commit half way between them.
GAP_S: Final = 4 * NEAR_S
# To see how many requests a second there are, when a number of them is asked for.
RATE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """With `requests`, the run takes as long as these need, and `seconds` is nothing."""

    seconds: float
    switches: int
    clients: int
    requests: int = 0


@dataclass(slots=True)
class Books:
    """`commits` are the yardstick's, which only bgproxy is measured with, as with calls that change nothing;
    `cpu_s` is that of a switch.
    """

    ledger: Ledger = field(default_factory=Ledger)
    switches: list[Switch] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    empty_calls_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


def play(stage: Stage, peer: Peer, plan: Plan, cores: set[int]) -> Books:
    books = Books()
    active, idle = SIDES
    for side in SIDES:
        stage.start_apps(side)
    ports = {
        side: (first, second)
        for side in SIDES
        for first, second in [[port for name, port in stage.apps.items() if name.startswith(side)]]
    }
    place = Place(stage.directory / peer.name, stage.public, stage.admin, ports)
    with ExitStack() as stack:
        started = stack.enter_context(peer.running(place, cores))
        yardstick = None
        if peer.name == "bgproxy":
            yardstick = stack.enter_context(Yardstick.opened(place.directory / "state.db"))
        books.ledger.changes.append(Change(Kind.START, 0.0, 0.0, frozenset({SIDES[active]})))
        path = stage.start_load("load", place.public, clients=plan.clients, think_s=THINK_S)
        reader = ResultReader(path)
        process.until(lambda: _has_begun(books.ledger, reader), started, place.directory)
        began = books.ledger.requests[0].started
        seconds = _seconds_for(plan, books.ledger, reader, began) if plan.requests else plan.seconds
        for moment, following in pairwise([*moments(seconds, plan.switches), seconds]):
            _sleep_until(began + moment)
            stage.check_alive()
            books.switches.append(_switch(books.ledger, peer, place, idle))
            active, idle = idle, active
            if yardstick is not None:
                _sleep_until(began + (moment + following) / 2)
                books.empty_calls_s.append(_empty_call_s(place))
                books.commits.append(yardstick.commit())
        _sleep_until(began + seconds)
        _await_count(stage, path, plan.requests)
        stage.stop("load")
        if started.poll() is not None:
            raise ContenderError(f"{peer.name} ended with {started.returncode} while it was measured")
        books.ledger.add(reader.read())
        books.cpu_s = _cpu_s(started.pid, peer, place, active)
    stage.stop(*stage.apps)
    for name in stage.apps:
        books.ledger.add_journal(name, stage.journal(name))
    return books


def fits(seconds: float, switches: int) -> bool:
    """Whether so many switches have a gap between each other, and calm at both ends."""
    return (switches - 1) * GAP_S < seconds - 2 * MARGIN_S


def moments(seconds: float, switches: int) -> Sequence[float]:
    """Random ones, in order, at least `GAP_S` apart and `MARGIN_S` from both ends."""
    if not fits(seconds, switches):
        raise StageError(
            f"{switches} switches do not fit into {seconds:.0f} s: each wants {GAP_S:g} s for itself"
        )
    room = seconds - 2 * MARGIN_S - (switches - 1) * GAP_S
    offsets = sorted(random.uniform(0.0, room) for _ in range(switches))
    return [MARGIN_S + offset + number * GAP_S for number, offset in enumerate(offsets)]


# Private


def _switch(ledger: Ledger, peer: Peer, place: Place, to: str) -> Switch:
    sent = time.monotonic()
    sync_s = peer.switch(place, to)
    acked = time.monotonic()
    ledger.changes.append(Change(Kind.SWITCH, sent, acked, frozenset({SIDES[to]})))
    return Switch(to, sent, acked, sync_s)


def _empty_call_s(place: Place) -> float:
    began = time.monotonic()
    levers.touch(place)
    return time.monotonic() - began


def _cpu_s(root: int, peer: Peer, place: Place, active: str) -> float:
    sides = [active, *(SIDES.keys() - {active})]

    def switch() -> None:
        sides.reverse()
        peer.switch(place, sides[0])

    return cpu.of_switch_s(root, switch)


def _seconds_for(plan: Plan, ledger: Ledger, reader: ResultReader, began: float) -> float:
    _sleep_until(began + RATE_S)
    ledger.add(reader.read())
    per_s = len(ledger.requests) / (time.monotonic() - began)
    return plan.requests / per_s


def _await_count(stage: Stage, results: Path, requests: int) -> None:
    """Until the load has written so many results; it goes on writing."""
    found, position = 0, 0
    while True:
        with results.open("rb") as file:
            file.seek(position)
            while data := file.read(1 << 20):
                found += data.count(b"\n")
            position = file.tell()
        if found >= requests:
            return
        stage.check_alive()
        time.sleep(FLUSH_S)


def _has_begun(ledger: Ledger, reader: ResultReader) -> bool:
    ledger.add(reader.read())
    return bool(ledger.requests)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
