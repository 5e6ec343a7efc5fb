"""The controller process: wires state, health, engine, switchboard and admin API, and speaks with the supervisor."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from bgproxy.admin_api import app
from bgproxy.admin_api.desk import Desk
from bgproxy.config import load
from bgproxy.engines.embedded import EmbeddedEngine
from bgproxy.errors import ConfigError, Conflict, ControlError, Problem, StateError
from bgproxy.model import Config
from bgproxy.observability.events import EventLog
from bgproxy.process import beginning
from bgproxy.process.admin_site import AdminSite
from bgproxy.process.plan import Plan
from bgproxy.process.seats import ControllerSeat
from bgproxy.state.base import ConfigText
from bgproxy.switch.calls import Call
from bgproxy.switch.roster import Roster
from bgproxy.switch.switchboard import Switchboard
from bgproxy.tls.pem import Unusable

logger = logging.getLogger("bgproxy.controller")

EXIT_CONFIG: Final = 2
EXIT_STATE: Final = 4

# How long the very first snapshot waits for the first check of the active pools: until then clients wait
# in the listeners' queues, which is better than a 503.
FIRST_CHECKS_S: Final = 5.0
# Admin calls that are under way get this long when the controller ends.
ADMIN_SHUTDOWN_S: Final = 1.0


def tell_plan(config_path: str, control: socket.socket) -> int:
    """Reads the configuration for a supervisor that starts, in a process of its own."""
    try:
        text, config = read_config(config_path)
    except ConfigError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201 - before there is a log
        return EXIT_CONFIG
    control.sendall(json.dumps({"text": text, "plan": Plan.of(config).to_json()}).encode() + b"\n")
    return 0


def read_config(path: str) -> tuple[str, Config]:
    """The text of a configuration file and what it means. Raises `ConfigError`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        load.load(path)  # says better what is wrong
        raise
    return text, load.parse(text, source=path, base=Path(path).parent)


def run(seat: ControllerSeat, control: socket.socket) -> int:
    """The whole life of the process. Returns its exit code."""
    try:
        return uvloop.run(Controller(seat, control).serve())
    except ConfigError as error:
        logger.error("%s", error.detail)  # noqa: TRY400 - the message says it all
        return EXIT_CONFIG
    except StateError as error:
        logger.error("%s", error.detail)  # noqa: TRY400 - the message says it all
        return EXIT_STATE


class Controller:
    def __init__(self, seat: ControllerSeat, control: socket.socket) -> None:
        self._seat = seat
        self._supervisor = SupervisorLine(control, self._told)
        self._board: Switchboard
        self._desk: Desk
        self._admin: AdminSite
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reloads = asyncio.Lock()  # one after the other: each of them may have to undo what it began
        self._reload_asked = False  # by a signal, and not begun

    async def serve(self) -> int:
        seat, loop = self._seat, asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ended.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        config = load.parse(seat.config_text, source=seat.config_path, base=Path(seat.config_path).parent)
        engine = EmbeddedEngine(seat.memory, seat.bells[:-1], seat.bells[-1])
        events = EventLog(loop.call_soon)
        before = engine.predecessor()
        text = ConfigText(seat.config_text, seat.config_path)
        store = await beginning.open_store(config, before)
        desired = await beginning.desired(store, config, text, before)
        roster = Roster(config, events)
        if before is not None:
            roster.restore(before, time.time())
        roster.follow(config, desired)
        self._board = Switchboard(config, desired, store, engine, roster, events)
        if before is None:
            await roster.until_known(
                [(name, state.active) for name, state in desired.services.items()], FIRST_CHECKS_S
            )
        self._board.start()
        self._desk = Desk(self._board, seat.supervisor_pid, seat.listeners, self._reload, self._upgrade)
        runner = app.runner(self._desk, ADMIN_SHUTDOWN_S)
        await runner.setup()
        self._admin = AdminSite(runner, seat.admin)
        await self._admin.follow(config.admin.tls)
        # What is here stays: a look at all of it, in the middle of a call, would take tens of milliseconds.
        gc.collect()
        gc.freeze()
        await self._supervisor.open()
        self._start(self._follow_drains())
        self._start(self._admin.watch())
        self._start(self._agree(config))
        events.add(
            "controller",
            f"controller {'started' if before is None else 'took over'}",
            generation=desired.generation,
        )
        await self._ended.wait()
        events.close()
        self._admin.close()
        await runner.cleanup()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await roster.close()
        engine.close()
        await store.close()
        return 0

    # Private

    async def _follow_drains(self) -> None:
        """Looks at the drains at every news and deadline."""
        board = self._board
        while True:
            deadline = board.drains.next_deadline()
            timeout = None if deadline is None else max(0.05, deadline - time.time())
            try:
                async with asyncio.timeout(timeout):
                    await board.engine.news()
            except TimeoutError:
                logger.debug("a drain's deadline has come")
            if board.drains.check(board.config, board.desired):
                board.publish()

    async def _reload(self, call: Call) -> list[str]:
        """Reads the file again; applies what changed, or raises with every reason and changes nothing."""
        async with self._reloads:
            self._reload_asked = False
            return await self._reload_now(call)

    async def _reload_now(self, call: Call) -> list[str]:
        text, config = read_config(self._seat.config_path)
        before = self._board.config
        _require_reloadable(before, config, self._seat.config_path)
        written = ConfigText(text, self._seat.config_path)
        try:
            changed = await self._board.reconfigure(call, config, written, lambda: self._replan(config))
        except ControlError:
            await self._replan(before)
            raise
        await self._supervisor.tell("applied", text=text)
        return changed

    async def _replan(self, config: Config) -> None:
        """Has the supervisor, and the admin API, listen as `config` says. Raises `Conflict` if they cannot."""
        try:
            await self._admin.follow(config.admin.tls)
        except Unusable as error:
            raise Conflict(str(error), generation=self._board.desired.generation) from None
        answer = await self._supervisor.ask("plan", plan=Plan.of(config).to_json())
        if answer["error"] is not None:
            raise Conflict(answer["error"], generation=self._board.desired.generation)
        self._desk.listeners[:] = [tuple(each) for each in answer["listeners"]]

    async def _agree(self, config: Config) -> None:
        """Undoes a reload that a predecessor has not lived to finish, of which the supervisor has its part."""
        try:
            await self._replan(config)
        except Conflict as error:
            logger.error("listeners are not as configured: %s", error.detail)  # noqa: TRY400

    async def _upgrade(self, call: Call) -> str | None:
        answer = await self._supervisor.ask("upgrade")
        refusal: str | None = answer["error"]
        if refusal is None:
            await self._board.store.record(self._board.entry(call, "upgrade", (), "done"))
            self._board.events.add("upgrade", f"the program on disk takes over, by {call.actor}")
        return refusal

    def _told(self, message: dict[str, Any]) -> None:
        if message["do"] == "reload" and not self._reload_asked:
            self._reload_asked = True
            self._start(self._reload_by_signal())
        elif message["do"] == "crew_failed":
            self._board.events.add("workers", "the new workers did not get ready; the old ones go on")

    async def _reload_by_signal(self) -> None:
        try:
            changed = await self._reload(Call(actor="SIGHUP"))
        except ControlError as error:
            text = f"reload refused, nothing is changed: {error.detail}"
            self._board.events.add("reload", text, level=logging.ERROR, outcome="refused")
            return
        if not changed:
            logger.info("reload: nothing has changed")

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A defect: half a controller would be worse than the next one.
            logger.critical("the controller ends", exc_info=task.exception())
            self._ended.set()


class SupervisorLine:
    """The control socket to the supervisor: JSON lines, questions with answers, and what it says unasked."""

    def __init__(self, control: socket.socket, told: Any) -> None:
        self._control = control
        self._told = told
        self._received = b""
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def open(self) -> None:
        """Says that we serve, and listens from now on."""
        loop = asyncio.get_running_loop()
        self._control.setblocking(False)
        loop.add_reader(self._control.fileno(), self._read)
        await self.tell("ready")

    async def tell(self, do: str, **arguments: Any) -> None:
        """Says something that needs no answer."""
        message = json.dumps({"do": do, **arguments}).encode() + b"\n"
        await asyncio.get_running_loop().sock_sendall(self._control, message)

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        number = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._asked[number] = answer
        await self.tell(do, id=number, **arguments)
        return await answer

    # Private

    def _read(self) -> None:
        try:
            data = self._control.recv(65536)
        except ConnectionResetError:  # it went without having read what we said
            data = b""
        if not data:
            # Without a supervisor nobody would start our successor; the workers end too.
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            signal.raise_signal(signal.SIGTERM)
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "id" in message:
                answer = self._asked.pop(message["id"])
                if not answer.done():  # whoever asked may have gone
                    answer.set_result(message)
            else:
                self._told(message)


def _require_reloadable(before: Config, after: Config, path: str) -> None:
    fixed: Sequence[tuple[str, object, object]] = (
        ("admin.bind", before.admin.bind, after.admin.bind),
        ("state.backend", before.state_backend, after.state_backend),
        ("state.path", before.state_path, after.state_path),
        ("resolve_interval", before.resolve_interval_s, after.resolve_interval_s),
    )
    problems = [
        Problem(name, f"is {old} and can be changed to {new} by a restart only")
        for name, old, new in fixed
        if old != new
    ]
    if problems:
        raise ConfigError(problems, path)
