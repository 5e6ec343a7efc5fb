"""A worker process: one uvloop loop, one data plane, the sockets that it accepts on.

It is told what to do by its supervisor through a control socket, a line at a time, and by the controller
through the shared memory. If the supervisor is gone, it finishes what it has and ends.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from math import inf
from typing import Final

import uvloop

from bgproxy.process.seats import WorkerSeat
from bgproxy.proxy.access_log import AccessLog
from bgproxy.proxy.dataplane import DataPlane
from bgproxy.proxy.listener import Listener
from bgproxy.shared_memory import snapshot
from bgproxy.shared_memory.counters import WorkerBlock

logger = logging.getLogger("bgproxy.worker")

# In a process that ends for good: time for a kept-alive client's next request before its connection is
# closed. (A worker that is only replaced waits for the idle timeout instead.)
IDLE_GRACE_S: Final = 1.0
# How often a worker that drains looks whether it is empty.
DRAIN_CHECK_S: Final = 0.05


def run(seat: WorkerSeat) -> int:
    """The whole life of the process. Returns its exit code."""
    # uvloop warns of every write to a TLS client that has just gone; what matters it says as an error.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    gc.freeze()
    # Exchanges leave no cycles behind; the collector only has to find what errors leave.
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(Worker(seat).serve())
    return 0


class Worker:
    def __init__(self, seat: WorkerSeat) -> None:
        self._seat = seat
        self._told = b""
        self._plane: DataPlane
        self._access_log: AccessLog | None = None
        self._listeners: list[Listener] = []
        self._drained = asyncio.Event()

    async def serve(self) -> None:
        seat, loop = self._seat, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # The supervisor speaks through the control socket; a terminal's ^C reaches us all.
            loop.add_signal_handler(number, lambda: None)
        rung = asyncio.Event()
        loop.add_reader(seat.bell.fileno(), rung.set)
        block = WorkerBlock(seat.memory, seat.block)
        while snapshot.read(seat.memory) is None:
            await rung.wait()
            seat.bell.silence()
            rung.clear()
        loop.remove_reader(seat.bell.fileno())
        self._plane = DataPlane(seat.memory, block, seat.controller_bell.ring, seat.workers)
        if seat.access_log is not None:
            self._plane.access_log = self._access_log = AccessLog(seat.access_log, block.cells)
        loop.add_reader(seat.bell.fileno(), self._look)
        for sock, settings in seat.sockets:
            listener = Listener(self._plane, sock, settings)
            self._listeners.append(listener)
            await listener.open()
        seat.control.setblocking(False)
        loop.add_reader(seat.control.fileno(), self._listen)
        await loop.sock_sendall(seat.control, b"ready\n")
        await self._drained.wait()
        self._plane.close()
        if self._access_log is not None:
            self._access_log.close()

    # Private

    def _look(self) -> None:
        self._seat.bell.silence()
        self._plane.adopt()

    def _listen(self) -> None:
        """Obeys the supervisor.

        `drain SECONDS`: the service ends; `retire`: a successor serves; `reopen`: the access log was rotated.
        """
        try:
            told = self._seat.control.recv(4096)
        except ConnectionResetError:  # it went without having read what we said
            told = b""
        if not told:
            asyncio.get_running_loop().remove_reader(self._seat.control.fileno())
            logger.warning("the supervisor is gone")
            self._drain(timeout_s=self._seat.shutdown_timeout_s, idle_grace_s=IDLE_GRACE_S)
            return
        *lines, self._told = (self._told + told).split(b"\n")
        for line in lines:
            verb, _, argument = line.partition(b" ")
            if verb == b"drain":
                self._drain(timeout_s=float(argument), idle_grace_s=IDLE_GRACE_S)
            elif verb == b"retire":
                self._drain(timeout_s=inf, idle_grace_s=inf)
            elif verb == b"reopen":
                self._reopen()

    def _reopen(self) -> None:
        if self._access_log is not None:
            self._access_log.reopen()

    def _drain(self, *, timeout_s: float, idle_grace_s: float) -> None:
        for listener in self._listeners:
            listener.close()
        self._plane.drain(timeout_s, idle_grace_s)
        # Not at once: the plane learns of a connection one turn of the loop after it was accepted.
        asyncio.get_running_loop().call_later(DRAIN_CHECK_S, self._check_drained)

    def _check_drained(self) -> None:
        if self._plane.is_empty():
            self._drained.set()
        else:
            asyncio.get_running_loop().call_later(DRAIN_CHECK_S, self._check_drained)
