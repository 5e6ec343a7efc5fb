"""All the workers: the newest crew serves, those before it drain.

Owns who is hired, who is replaced after a death, and when a crew has had its time. Decides nothing about what
workers are to serve: that is the plan's.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from bgproxy.process import worker
from bgproxy.process.backoff import LONGEST_PAUSE_S, pause_s, young_deaths
from bgproxy.process.child import Child
from bgproxy.process.crew import Crew, Place
from bgproxy.process.listeners import Listeners
from bgproxy.process.loop import Loop
from bgproxy.process.plan import Plan
from bgproxy.process.seats import WorkerSeat
from bgproxy.shared_memory import counters, layout
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.wake import Bell

logger = logging.getLogger("bgproxy.supervisor")

# How long a new crew may take to be ready.
CREW_READY_S: Final = 30.0

# Starts a child of this role that runs this, and keeps these of our sockets.
Fork = Callable[[str, Callable[[socket.socket], int], Iterable[socket.socket]], Child]


class Workforce:
    def __init__(
        self, memory: SharedMemory, bells: list[Bell], listeners: Listeners, loop: Loop, fork: Fork
    ) -> None:
        self.plan: Plan
        self._memory = memory
        self._bells = bells  # one for each block, then the controller's
        self._listeners = listeners
        self._loop = loop
        self._fork = fork
        self._crews: list[Crew] = []  # the last one serves; the others drain
        self._draining = False

    # Coming

    def has_room(self, workers: int) -> bool:
        return len(self._free_blocks()) >= workers

    def hire(self) -> Crew:
        """A crew as the plan wants it, which takes over as soon as it is ready."""
        crew = Crew(self._free_blocks()[: self.plan.workers])
        self._crews.append(crew)
        for place in crew.places:
            self._start(crew, place)
        return crew

    def adopt(self, workers: list[tuple[int, int, int]]) -> list[Child]:
        """A crew of a predecessor: block, process id, control socket."""
        crew = Crew([block for block, _, _ in workers])
        children = []
        for place, (_, pid, fd) in zip(crew.places, workers, strict=True):
            place.child = Child("worker", pid, socket.socket(fileno=fd), time.monotonic())
            place.child.ready = True
            children.append(place.child)
        self._crews.append(crew)
        return children

    # Staying

    def is_changing(self) -> bool:
        return len(self._crews) > 1 and not self._crews[-1].is_ready()

    def settle(self) -> bool:
        """Once the newest crew accepts, the ones before it have had their time; False if it does not yet."""
        if self._draining:
            return False
        crew = self._crews[-1]
        if not crew.is_ready() or crew.retired:
            return False
        for older in self._crews[:-1]:
            if not older.retired:
                older.retire()
        self._crews = [each for each in self._crews if each is crew or not each.is_gone()]
        return True

    def exited(self, pid: int, code: int) -> None:
        for crew in list(self._crews):
            for place in crew.places:
                if place.child is not None and place.child.pid == pid:
                    self._exited(crew, place, place.child, code)
                    return

    def reopen(self) -> None:
        """The log; those that drain write lines too."""
        for crew in self._crews:
            crew.tell("reopen")

    # Going

    def dismiss(self, crew: Crew) -> bool:
        """A crew that does not get ready must not take the place of one that serves; False if it has, or may."""
        if crew.is_ready() or crew.retired or crew not in self._crews or len(self._crews) == 1:
            return False
        logger.error("the new workers are not ready after %g s; the old ones go on", CREW_READY_S)
        self._crews.remove(crew)
        crew.kill()
        if not crew.is_gone():
            self._crews.insert(0, crew)
        return True

    def drain(self) -> None:
        """All finish what they have, up to the deadline; nobody is replaced any more."""
        self._draining = True
        for crew in self._crews:
            crew.tell(f"drain {self.plan.shutdown_timeout_s}")

    def kill(self) -> None:
        for crew in self._crews:
            crew.kill()

    # Who there is

    def is_gone(self) -> bool:
        return not self._children()

    def controls(self) -> list[socket.socket]:
        return [child.control for child in self._children()]

    def numbers(self) -> list[list[tuple[int, int, int]]]:
        """For a successor; of each crew's workers: block, process id, control socket."""
        return [
            [
                (place.block, place.child.pid, place.child.control.fileno())
                for place in crew.places
                if place.child is not None
            ]
            for crew in self._crews
        ]

    # Private

    def _free_blocks(self) -> list[int]:
        used = {place.block for crew in self._crews for place in crew.places if not place.gone}
        return [block for block in range(layout.BLOCKS) if block not in used]

    def _children(self) -> list[Child]:
        children = (place.child for crew in self._crews for place in crew.places)
        return [child for child in children if child is not None]

    def _start(self, crew: Crew, place: Place) -> None:
        if self._draining or crew not in self._crews or crew.retired:
            return
        mine = self._listeners.share(place.index, len(crew.places))

        def begin(control: socket.socket) -> int:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # `systemctl kill` sends it to all of us
            return worker.run(
                WorkerSeat(
                    memory=self._memory,
                    block=place.block,
                    bell=self._bells[place.block],
                    controller_bell=self._bells[-1],
                    control=control,
                    sockets=mine,
                    workers=len(crew.places),
                    shutdown_timeout_s=self.plan.shutdown_timeout_s,
                    access_log=self.plan.access_log,
                )
            )

        try:
            place.child = self._fork("worker", begin, [sock for sock, _ in mine])
        except OSError as error:
            # Out of memory, processes or descriptors: nothing that ending the rest of the service would mend.
            logger.error("worker %d cannot be started: %s; trying again", place.block, error)  # noqa: TRY400 - the message says it all
            self._loop.after(LONGEST_PAUSE_S, lambda: self._start(crew, place))

    def _exited(self, crew: Crew, place: Place, child: Child, code: int) -> None:
        place.child = None
        counters.vacate(self._memory, place.block)
        if self._draining or crew.retired:
            place.gone = True
            if crew.is_gone():
                self._crews.remove(crew)
            return
        place.deaths = young_deaths(place.deaths, time.monotonic() - child.started)
        pause = pause_s(place.deaths)
        logger.warning("worker %d (pid %d) has ended with %d; starting another", place.block, child.pid, code)
        if pause:
            self._loop.after(pause, lambda: self._start(crew, place))
        else:
            self._start(crew, place)
