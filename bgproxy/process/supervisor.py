"""The supervisor: holds the listening sockets, starts the controller and the workers, restarts what dies.

It does nothing else, so that it never dies itself: no event loop, no threads, no configuration parsing,
no HTTP. Everything that it must survive a replacement of its own program (`upgrade`) is descriptors and a
few numbers, which it hands to its successor in the same process.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import json
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Final

import bgproxy
from bgproxy.model import AccessLog
from bgproxy.observability.line_file import LineFile
from bgproxy.process import worker
from bgproxy.process.child import Child
from bgproxy.process.crew import Crew, Place
from bgproxy.process.inherited import Inherited
from bgproxy.process.plan import Plan
from bgproxy.process.seats import ControllerSeat, WorkerSeat
from bgproxy.process.sockets import ADMIN_MODE, Key, Listening, address_of, key_of, open_socket
from bgproxy.process.upgrade import Estate, preflight, replace_program
from bgproxy.shared_memory import counters, layout
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.wake import Bell

logger = logging.getLogger("bgproxy.supervisor")

# A child that dies is restarted at once; if it dies young again, after ever longer pauses.
BACKOFF_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
YOUNG_S: Final = 10.0
# How long a replaced controller may take to leave, and a new crew to be ready.
CONTROLLER_EXIT_S: Final = 5.0
CREW_READY_S: Final = 30.0
# Beyond the drain deadline, before what is left is killed.
KILL_GRACE_S: Final = 3.0
# The longest sleep, whatever a configured timeout says: what a selector can count.
LONGEST_S: Final = 3600.0

EXIT_CONFIG: Final = 2

EXIT_STATE: Final = 4

SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2),
)


class Supervisor:
    def __init__(self, config_path: str, memory: SharedMemory, bells: list[Bell]) -> None:
        self.config_path = config_path
        self.config_text = ""  # as applied; every controller starts with it
        self.memory = memory
        self.bells = bells  # one for each block, then the controller's
        self.plan: Plan
        self.listeners: dict[Key, Listening] = {}
        self.admin: socket.socket
        self._admin_inherited = False  # from a service manager
        self.controller: Child | None = None
        self.crews: list[Crew] = []  # the last one serves; the others drain
        self._controller_deaths = 0
        self._retired: list[Listening] = []
        self._reload_due = False
        self._ending = False
        self._exit_code: int | None = None
        self._announced = False
        self._first_start = True  # until everything is ready for the first time
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0

    # Life

    def start(self, config_text: str, plan: Plan) -> None:
        """The first start: binds everything, then forks."""
        self.config_text = config_text
        self.plan = plan
        _try_to_write(plan.access_log)
        self._take_inherited(plan, Inherited.from_environment(os.environ))
        self._bind(plan)
        self._start_controller()
        self._start_crew()

    def serve(self) -> int:
        """Runs until everything has ended; returns the exit code."""
        self._watch_signals()
        while self._exit_code is None:
            timeout = (
                min(max(0.0, self._timers[0][0] - time.monotonic()), LONGEST_S) if self._timers else None
            )
            for key, _ in self._selector.select(timeout):
                key.data()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
        return self._exit_code

    def watch(self, child: Child) -> None:
        self._selector.register(child.control, selectors.EVENT_READ, lambda: self._hear(child))

    # Signals

    def _watch_signals(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        self._wakeup = (reader, writer)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # which a predecessor had blocked
        self._selector.register(reader, selectors.EVENT_READ, self._on_signals)
        # What came before there was a handler: a child may have died already.
        self._reap()

    def _on_signals(self) -> None:
        numbers = set(self._wakeup[0].recv(4096))
        if signal.SIGCHLD in numbers:
            self._reap()
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._end()
        if signal.SIGHUP in numbers:
            self._reload()
        if signal.SIGUSR1 in numbers:
            for crew in self.crews:  # those that drain write lines too
                crew.tell("reopen")
        if signal.SIGUSR2 in numbers:  # the last, because it may be the last that this program does
            refusal = self.upgrade()
            if refusal:
                logger.error("upgrade refused: %s", refusal)

    def _reload(self) -> None:
        if self.controller is None or self.controller.leaving:
            self._reload_due = True  # for its successor
        else:
            self.controller.tell(json.dumps({"do": "reload"}))

    # Children

    def _start_controller(self) -> None:
        seat = ControllerSeat(
            memory=self.memory,
            bells=self.bells,
            admin=self.admin,
            config_path=self.config_path,
            config_text=self.config_text,
            listeners=[
                (each.name, each.bind, each.address, each.listener.preview)
                for each in self.listeners.values()
            ],
            supervisor_pid=os.getpid(),
        )
        try:
            child = Child.fork(
                "controller", lambda control: _run_controller(seat, control), self._not_for_controller()
            )
        except OSError as error:
            self._try_again("the controller", error, self._start_controller)
            return
        self.controller = child
        self.watch(child)

    def _start_crew(self) -> None:
        crew = Crew(self._free_blocks()[: self.plan.workers])
        self.crews.append(crew)
        for place in crew.places:
            self._start_worker(crew, place)
        self._after(CREW_READY_S, lambda: self._give_up_on(crew))

    def _free_blocks(self) -> list[int]:
        used = {place.block for crew in self.crews for place in crew.places if not place.gone}
        return [block for block in range(layout.BLOCKS) if block not in used]

    def _start_worker(self, crew: Crew, place: Place) -> None:
        if self._ending or crew not in self.crews or crew.retired:
            return
        mine = [
            (sock, listener.listener)
            for listener in self.listeners.values()
            for sock in listener.share(place.index, len(crew.places))
        ]
        keep = {id(sock) for sock, _ in mine}

        def begin(control: socket.socket) -> int:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # `systemctl kill` sends it to all of us
            gc.collect()
            return worker.run(
                WorkerSeat(
                    memory=self.memory,
                    block=place.block,
                    bell=self.bells[place.block],
                    controller_bell=self.bells[-1],
                    control=control,
                    sockets=tuple(mine),
                    workers=len(crew.places),
                    shutdown_timeout_s=self.plan.shutdown_timeout_s,
                    access_log=self.plan.access_log,
                )
            )

        close = [sock for sock in self._all_sockets() if id(sock) not in keep]
        try:
            place.child = Child.fork("worker", begin, close)
        except OSError as error:
            self._try_again(f"worker {place.block}", error, lambda: self._start_worker(crew, place))
            return
        self.watch(place.child)

    def _try_again(self, who: str, error: OSError, start: Callable[[], None]) -> None:
        """Out of memory, processes or descriptors: nothing that ending the rest of the service would mend."""
        logger.error("%s cannot be started: %s; trying again", who, error)
        self._after(BACKOFF_S[-1], lambda: None if self._ending else start())

    def _hear(self, child: Child) -> None:
        lines = child.hear()
        if lines is None:
            # Closed with the child itself: until that is reaped, it may be told something or handed over.
            self._selector.unregister(child.control)
            return
        for line in lines:
            if child.role == "worker":
                child.ready = True
                self._check_ready()
            else:
                self._obey(child, json.loads(line))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._exited(pid, os.waitstatus_to_exitcode(status))

    def _exited(self, pid: int, code: int) -> None:
        if self.controller is not None and self.controller.pid == pid:
            child, self.controller = self.controller, None
            self._controller_exited(child, code)
            return
        for crew in list(self.crews):
            for place in crew.places:
                if place.child is not None and place.child.pid == pid:
                    self._worker_exited(crew, place, place.child, code)
                    return

    def _controller_exited(self, child: Child, code: int) -> None:
        if self._ending:
            self._check_ended()
            return
        if child.leaving:
            self._start_controller()
            return
        if code in (EXIT_CONFIG, EXIT_STATE) and self._first_start:
            # It has said what is wrong, and trying again would not mend it.
            self._exit_code = code
            self._kill_all()
            return
        young = time.monotonic() - child.started < YOUNG_S
        self._controller_deaths = self._controller_deaths + 1 if young else 0
        pause = BACKOFF_S[min(self._controller_deaths, len(BACKOFF_S) - 1)]
        logger.warning("the controller (pid %d) has ended with %d; traffic goes on", child.pid, code)
        self._after(pause, lambda: None if self._ending else self._start_controller())

    def _worker_exited(self, crew: Crew, place: Place, child: Child, code: int) -> None:
        place.child = None
        counters.vacate(self.memory, place.block)
        if self._ending or crew.retired:
            place.gone = True
            if crew.is_gone():
                self.crews.remove(crew)
            if self._ending:
                self._check_ended()
            return
        young = time.monotonic() - child.started < YOUNG_S
        place.deaths = place.deaths + 1 if young else 0
        pause = BACKOFF_S[min(place.deaths, len(BACKOFF_S) - 1)]
        logger.warning("worker %d (pid %d) has ended with %d; starting another", place.block, child.pid, code)
        if pause:
            self._after(pause, lambda: self._start_worker(crew, place))
        else:
            self._start_worker(crew, place)

    def _check_ready(self) -> None:
        """Once the newest crew accepts, the ones before it have had their time."""
        crew = self.crews[-1]
        if self._ending or not crew.is_ready() or crew.retired:
            return
        for older in self.crews[:-1]:
            if not older.retired:
                older.retire()
        self.crews = [each for each in self.crews if each is crew or not each.is_gone()]
        for listener in self._retired:
            listener.close()
        self._retired.clear()
        if not self._announced and self.controller is not None and self.controller.ready:
            self._announced = True
            self._first_start = False
            places = ", ".join(f"{each.name} on {each.address}" for each in self.listeners.values())
            logger.info("ready: %s; admin on %s", places, address_of(self.admin))

    def _give_up_on(self, crew: Crew) -> None:
        """A crew that does not get ready must not take the place of one that serves."""
        if crew.is_ready() or crew.retired or crew not in self.crews or len(self.crews) == 1:
            return
        logger.error("the new workers are not ready after %g s; the old ones go on", CREW_READY_S)
        if self.controller is not None:
            self.controller.tell(json.dumps({"do": "crew_failed"}))
        self.crews.remove(crew)
        crew.kill()
        if not crew.is_gone():
            self.crews.insert(0, crew)

    # What the controller asks for

    def _obey(self, child: Child, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": message.get("id")}
        if message["do"] == "plan":
            answer["error"] = self._replan(Plan.from_json(message["plan"]))
            answer["listeners"] = (
                []
                if answer["error"]
                else [
                    (each.name, each.bind, each.address, each.listener.preview)
                    for each in self.listeners.values()
                ]
            )
            child.tell(json.dumps(answer))
        elif message["do"] == "applied":
            self.config_text = message["text"]
        elif message["do"] == "ready":
            child.ready = True
            self._check_ready()
            if self._reload_due:
                self._reload_due = False
                self._reload()
        elif message["do"] == "upgrade":
            answer["error"] = self._refuse_upgrade()
            child.tell(json.dumps(answer))
            if answer["error"] is None:
                # After the answer has gone out: from here on there is another program.
                self._after(0.0, self._hand_over)

    def _replan(self, plan: Plan) -> str | None:
        """Applies another plan without closing a connection; returns why not, if not."""
        if self._ending:
            return "bgproxy is ending"
        before = self.plan
        if plan.has_same_workers(before):
            self.plan = plan
            return None
        if len(self._free_blocks()) < plan.workers:
            return "too many replaced workers still serve their last connections; try again later"
        try:
            _try_to_write(plan.access_log)
            self._bind(plan)
        except OSError as error:
            return str(error)
        self.plan = plan
        self._start_crew()
        return None

    def _bind(self, plan: Plan) -> None:
        """Opens what `plan` needs and does not have; all of it or nothing."""
        wanted = {key_of(listener.bind, listener.name): listener for listener in plan.listeners}
        retired = {key_of(each.bind, each.name): each for each in self._retired}  # and still open
        opened: list[Listening] = []
        listeners: dict[Key, Listening] = {}
        try:
            for key, listener in wanted.items():
                listening = self.listeners.get(key) or retired.get(key)
                if listening is None:
                    listening = Listening(listener)
                    opened.append(listening)
                listening.grow(plan.workers)
                listeners[key] = listening
        except OSError:
            for listening in opened:
                if listening.sockets:
                    listening.close()
            raise
        open_now = {**retired, **self.listeners}
        self._retired = [listening for key, listening in open_now.items() if key not in listeners]
        for key, listener in wanted.items():
            listeners[key].listener = listener
        self.listeners = listeners

    def _take_inherited(self, plan: Plan, inherited: Inherited) -> None:
        """What a service manager has opened for us; the admin socket is opened if it is not among that."""
        for listener in plan.listeners:
            sockets = inherited.take(listener.name, listener.bind)
            if sockets:
                key = key_of(listener.bind, listener.name)
                self.listeners[key] = Listening(listener, sockets, inherited=True)
        admin = inherited.take_admin(plan.admin)
        inherited.refuse_rest()
        self._admin_inherited = admin is not None
        self.admin = admin or open_socket(plan.admin, ADMIN_MODE)

    # Upgrade

    def upgrade(self) -> str | None:
        """Replaces this program by the one on disk; returns why not, if not."""
        refusal = self._refuse_upgrade()
        if refusal is None:
            self._hand_over()
        return refusal

    def _refuse_upgrade(self) -> str | None:
        if self._ending:
            return "bgproxy is ending"
        if len(self.crews) > 1 and not self.crews[-1].is_ready():
            return "the workers are being replaced; try again when they are ready"
        if len(self._free_blocks()) < self.plan.workers:
            return "too many replaced workers still serve their last connections; try again later"
        return preflight()

    def _hand_over(self) -> None:
        if self._ending:
            return
        logger.info("upgrade: version %s hands over", bgproxy.__version__)
        self._keep_signals()
        try:
            replace_program(self._estate())
        except OSError as error:
            self._stay(error)

    def _estate(self) -> Estate:
        return Estate(
            config_path=self.config_path,
            config_text=self.config_text,
            plan=self.plan,
            memory=self.memory.fd,
            bells=[bell.fds for bell in self.bells],
            admin=self.admin.fileno(),
            listeners=[
                (each.name, each.bind, [sock.fileno() for sock in each.sockets])
                for each in self.listeners.values()
            ],
            inherited=[
                *(
                    sock.fileno()
                    for each in self.listeners.values()
                    if each.inherited
                    for sock in each.sockets
                ),
                *([self.admin.fileno()] if self._admin_inherited else []),
            ],
            controller=None if self.controller is None else _numbers(self.controller),
            crews=[
                [(place.block, *_numbers(place.child)) for place in crew.places if place.child is not None]
                for crew in self.crews
            ],
        )

    def _stay(self, error: OSError) -> None:
        """There was no handing over: everything goes on as before."""
        logger.error("upgrade: %s; this program goes on", error)
        signal.set_wakeup_fd(self._wakeup[1].fileno())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _keep_signals(self) -> None:
        """Until the successor is ready for them, signals wait; those that nobody has looked at are sent again."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        signal.set_wakeup_fd(-1)
        with contextlib.suppress(BlockingIOError):
            for number in set(self._wakeup[0].recv(4096)):
                os.kill(os.getpid(), number)
        if self._reload_due:
            os.kill(os.getpid(), signal.SIGHUP)

    @classmethod
    def take_over(cls, estate: Estate) -> Supervisor:
        """Goes on for a predecessor: its workers serve until ours are ready."""
        bells = [Bell((read_fd, write_fd)) for read_fd, write_fd in estate.bells]
        self = cls(estate.config_path, SharedMemory(estate.memory), bells)
        self.config_text = estate.config_text
        self.plan = estate.plan
        self.admin = socket.socket(fileno=estate.admin)
        self._admin_inherited = estate.admin in estate.inherited
        settings = {listener.name: listener for listener in estate.plan.listeners}
        for name, bind, fds in estate.listeners:
            sockets = [socket.socket(fileno=fd) for fd in fds]
            inherited = fds[0] in estate.inherited
            self.listeners[key_of(bind, name)] = Listening(settings[name], sockets, inherited)
        for workers in estate.crews:
            crew = Crew([block for block, _, _ in workers])
            for place, (_, pid, fd) in zip(crew.places, workers, strict=True):
                place.child = Child("worker", pid, socket.socket(fileno=fd), time.monotonic())
                place.child.ready = True
                self.watch(place.child)
            self.crews.append(crew)
        self._first_start = False
        logger.info("upgrade: version %s has taken over", bgproxy.__version__)
        if estate.controller is None:
            self._start_controller()
        else:
            self._relieve(
                Child(
                    "controller",
                    estate.controller[0],
                    socket.socket(fileno=estate.controller[1]),
                    time.monotonic(),
                )
            )
        self._start_crew()
        return self

    def _relieve(self, old: Child) -> None:
        """The state store has one owner: our controller starts when the predecessor's has left."""
        self.controller = old
        self.watch(old)
        old.leaving = True
        old.signal(signal.SIGTERM)
        self._after(CONTROLLER_EXIT_S, lambda: old.signal(signal.SIGKILL) if self.controller is old else None)

    # End

    def _end(self) -> None:
        """Stops accepting and lets everything finish, up to the deadline."""
        if self._ending:
            return
        self._ending = True
        timeout_s = self.plan.shutdown_timeout_s
        logger.info("draining for at most %g s", timeout_s)
        for listener in (*self.listeners.values(), *self._retired):
            listener.close()
        for crew in self.crews:
            crew.tell(f"drain {timeout_s}")
        self._after(timeout_s + KILL_GRACE_S, self._kill_all)
        self._check_ended()

    def _check_ended(self) -> None:
        if any(place.child is not None for crew in self.crews for place in crew.places):
            return
        if self.controller is not None:
            # Last, so that health and metrics are there until the end.
            self.controller.signal(signal.SIGTERM)
            return
        if self.admin.family == socket.AF_UNIX and not self._admin_inherited:
            with contextlib.suppress(FileNotFoundError):
                Path(self.admin.getsockname()).unlink()
        logger.info("drained")
        self._exit_code = 0

    def _kill_all(self) -> None:
        for crew in self.crews:
            crew.kill()
        if self.controller is not None:
            self.controller.signal(signal.SIGKILL)

    # Private

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        if seconds == inf:
            return
        self._timer_count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._timer_count, action))

    def _controls(self) -> list[socket.socket]:
        children = [place.child for crew in self.crews for place in crew.places]
        return [child.control for child in (*children, self.controller) if child is not None]

    def _all_sockets(self) -> list[socket.socket]:
        listening = [sock for each in (*self.listeners.values(), *self._retired) for sock in each.sockets]
        return [*listening, self.admin, *self._controls(), *getattr(self, "_wakeup", ())]

    def _not_for_controller(self) -> list[socket.socket]:
        return [sock for sock in self._all_sockets() if sock is not self.admin]


def _numbers(child: Child) -> tuple[int, int]:
    return child.pid, child.control.fileno()


def _try_to_write(log: AccessLog | None) -> None:
    """An access log that cannot be written is an error in the configuration, at least when it is new."""
    if log is not None:
        file = LineFile(log.path)
        file.open()
        file.close()


def _run_controller(seat: ControllerSeat, control: socket.socket) -> int:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # for the workers; `systemctl kill` sends it to all of us
    # Imported in the child only: what the controller needs, the supervisor and the workers do not carry.
    from bgproxy.process import controller  # noqa: PLC0415

    return controller.run(seat, control)
