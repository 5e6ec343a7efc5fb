"""The supervisor: holds the listening sockets, starts the controller and the workers, restarts what dies.

It does nothing else, so that it never dies itself: no asyncio, no threads, no configuration parsing,
no HTTP. What it holds is in `listeners` and `workforce`; here is what it does about a signal, an exit, a word
of the controller. Everything that must survive a replacement of its own program (`upgrade`) is descriptors
and a few numbers, which it hands to its successor in the same process.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from bgproxy.build import BUILD
from bgproxy.model import AccessLog
from bgproxy.observability.line_file import LineFile
from bgproxy.process.backoff import LONGEST_PAUSE_S, pause_s, young_deaths
from bgproxy.process.child import Child
from bgproxy.process.crew import Crew
from bgproxy.process.inherited import Inherited
from bgproxy.process.listeners import Listeners
from bgproxy.process.loop import Loop
from bgproxy.process.plan import Plan
from bgproxy.process.seats import ControllerSeat
from bgproxy.process.signals import Signals
from bgproxy.process.upgrade import Estate, preflight, replace_program
from bgproxy.process.workforce import CREW_READY_S, Workforce
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.wake import Bell

logger = logging.getLogger("bgproxy.supervisor")

# How long a replaced controller may take to leave.
CONTROLLER_EXIT_S: Final = 5.0
# Beyond the drain deadline, before what is left is killed.
KILL_GRACE_S: Final = 3.0

EXIT_CONFIG: Final = 2
EXIT_STATE: Final = 4


class Supervisor:
    def __init__(self, config_path: str, memory: SharedMemory, bells: list[Bell]) -> None:
        self.config_path = config_path
        self.config_text = ""  # as applied; every controller starts with it
        self.memory = memory
        self.bells = bells  # one for each block, then the controller's
        self.loop = Loop()
        self.signals = Signals()
        self.listeners = Listeners()
        self.workforce = Workforce(memory, bells, self.listeners, self.loop, self._fork)
        self.controller: Child | None = None
        self._controller_deaths = 0  # young ones in a row
        self._reload_due = False
        self._ending = False
        self._exit_code: int | None = None
        self._announced = False
        self._first_start = True  # until everything is ready for the first time

    # Life

    def start(self, config_text: str, plan: Plan) -> None:
        """The first start: binds everything, then forks."""
        logger.info("start: version %s", BUILD)
        self.config_text = config_text
        self.workforce.plan = plan
        _try_to_write(plan.access_log)
        self.listeners.take_inherited(plan, Inherited.from_environment(os.environ))
        self.listeners.bind(plan)
        self._start_controller()
        self._start_crew()

    def serve(self) -> int:
        """Runs until everything has ended; returns the exit code."""
        self.signals.receive()
        self.loop.watch(self.signals.reader, self._on_signals)
        self._reap()  # a child may have died before there was a handler
        while self._exit_code is None:
            self.loop.turn()
        return self._exit_code

    # Signals

    def _on_signals(self) -> None:
        numbers = self.signals.take()
        if signal.SIGCHLD in numbers:
            self._reap()
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._end()
        if signal.SIGHUP in numbers:
            self._reload()
        if signal.SIGUSR1 in numbers:
            self.workforce.reopen()
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
            admin=self.listeners.admin,
            config_path=self.config_path,
            config_text=self.config_text,
            listeners=self.listeners.places(),
            supervisor_pid=os.getpid(),
        )
        try:
            self.controller = self._fork(
                "controller", lambda control: _run_controller(seat, control), (self.listeners.admin,)
            )
        except OSError as error:
            # Out of memory, processes or descriptors: nothing that ending the rest of the service would mend.
            logger.error("the controller cannot be started: %s; trying again", error)  # noqa: TRY400 - the message says it all
            self._start_controller_after(LONGEST_PAUSE_S)

    def _start_controller_after(self, wait_s: float) -> None:
        self.loop.after(wait_s, lambda: None if self._ending else self._start_controller())

    def _start_crew(self) -> None:
        crew = self.workforce.hire()
        self.loop.after(CREW_READY_S, lambda: self._give_up_on(crew))

    def _fork(self, role: str, run: Callable[[socket.socket], int], keep: Iterable[socket.socket]) -> Child:
        """A child that keeps these of our sockets and closes all others."""
        kept = set(keep)
        child = Child.fork(role, run, [sock for sock in self._sockets() if sock not in kept])
        self._watch(child)
        return child

    def _watch(self, child: Child) -> None:
        self.loop.watch(child.control, lambda: self._hear(child))

    def _hear(self, child: Child) -> None:
        lines = child.hear()
        if lines is None:
            # Closed with the child itself: until that is reaped, it may be told something or handed over.
            self.loop.forget(child.control)
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
        self.workforce.exited(pid, code)
        if self._ending:
            self._check_ended()

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
        self._controller_deaths = young_deaths(self._controller_deaths, time.monotonic() - child.started)
        logger.warning("the controller (pid %d) has ended with %d; traffic goes on", child.pid, code)
        self._start_controller_after(pause_s(self._controller_deaths))

    def _check_ready(self) -> None:
        if not self.workforce.settle():
            return
        self.listeners.close_retired()
        if not self._announced and self.controller is not None and self.controller.ready:
            self._announced = True
            self._first_start = False
            logger.info("ready: %s", self.listeners.described())

    def _give_up_on(self, crew: Crew) -> None:
        if self.workforce.dismiss(crew) and self.controller is not None:
            self.controller.tell(json.dumps({"do": "crew_failed"}))

    # What the controller asks for

    def _obey(self, child: Child, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": message.get("id")}
        if message["do"] == "plan":
            answer["error"] = self._replan(Plan.from_json(message["plan"]))
            answer["listeners"] = [] if answer["error"] else self.listeners.places()
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
                self.loop.after(0.0, self._hand_over)

    def _replan(self, plan: Plan) -> str | None:
        """Applies another plan without closing a connection; returns why not, if not."""
        if self._ending:
            return "bgproxy is ending"
        if plan.has_same_workers(self.workforce.plan):
            self.workforce.plan = plan
            return None
        if not self.workforce.has_room(plan.workers):
            return "too many replaced workers still serve their last connections; try again later"
        try:
            _try_to_write(plan.access_log)
            self.listeners.bind(plan)
        except OSError as error:
            return str(error)
        self.workforce.plan = plan
        self._start_crew()
        return None

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
        if self.workforce.is_changing():
            return "the workers are being replaced; try again when they are ready"
        if not self.workforce.has_room(self.workforce.plan.workers):
            return "too many replaced workers still serve their last connections; try again later"
        return preflight()

    def _hand_over(self) -> None:
        if self._ending:
            return
        logger.info("upgrade: version %s hands over", BUILD)
        self.signals.keep()
        if self._reload_due:
            os.kill(os.getpid(), signal.SIGHUP)
        try:
            replace_program(self._estate())
        except OSError as error:
            logger.error("upgrade: %s; this program goes on", error)  # noqa: TRY400 - the message says it all
            self.signals.resume()

    def _estate(self) -> Estate:
        return Estate(
            config_path=self.config_path,
            config_text=self.config_text,
            plan=self.workforce.plan,
            memory=self.memory.fd,
            bells=[bell.fds for bell in self.bells],
            admin=self.listeners.admin.fileno(),
            listeners=self.listeners.descriptors(),
            inherited=self.listeners.inherited(),
            controller=None
            if self.controller is None
            else (self.controller.pid, self.controller.control.fileno()),
            crews=self.workforce.numbers(),
        )

    @classmethod
    def take_over(cls, estate: Estate) -> Supervisor:
        """Goes on for a predecessor: its workers serve until ours are ready."""
        bells = [Bell((read_fd, write_fd)) for read_fd, write_fd in estate.bells]
        self = cls(estate.config_path, SharedMemory(estate.memory), bells)
        self.config_text = estate.config_text
        self.listeners.adopt(estate)
        self.workforce.plan = estate.plan
        for workers in estate.crews:
            for child in self.workforce.adopt(workers):
                self._watch(child)
        self._first_start = False
        logger.info("upgrade: version %s has taken over", BUILD)
        if estate.controller is None:
            self._start_controller()
        else:
            pid, fd = estate.controller
            self._relieve(Child("controller", pid, socket.socket(fileno=fd), time.monotonic()))
        self._start_crew()
        return self

    def _relieve(self, old: Child) -> None:
        """The state store has one owner: our controller starts when the predecessor's has left."""
        self.controller = old
        self._watch(old)
        old.leaving = True
        old.signal(signal.SIGTERM)
        self.loop.after(
            CONTROLLER_EXIT_S, lambda: old.signal(signal.SIGKILL) if self.controller is old else None
        )

    # End

    def _end(self) -> None:
        """Stops accepting and lets everything finish, up to the deadline."""
        if self._ending:
            return
        self._ending = True
        timeout_s = self.workforce.plan.shutdown_timeout_s
        logger.info("draining for at most %g s", timeout_s)
        self.listeners.close()
        self.workforce.drain()
        self.loop.after(timeout_s + KILL_GRACE_S, self._kill_all)
        self._check_ended()

    def _check_ended(self) -> None:
        if not self.workforce.is_gone():
            return
        if self.controller is not None:
            # Last, so that health and metrics are there until the end.
            self.controller.signal(signal.SIGTERM)
            return
        self.listeners.remove_admin_file()
        logger.info("drained")
        self._exit_code = 0

    def _kill_all(self) -> None:
        self.workforce.kill()
        if self.controller is not None:
            self.controller.signal(signal.SIGKILL)

    # Private

    def _sockets(self) -> list[socket.socket]:
        controller = [] if self.controller is None else [self.controller.control]
        signals = [self.signals.reader, self.signals.writer]
        return [*self.listeners.sockets(), *self.workforce.controls(), *controller, *signals]


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
