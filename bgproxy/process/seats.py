"""What the supervisor gives to each child that it forks. All of it outlives the child."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from bgproxy.model import AccessLog, Listener
from bgproxy.shared_memory.layout import SharedMemory
from bgproxy.shared_memory.wake import Bell


@dataclass(frozen=True, slots=True)
class WorkerSeat:
    memory: SharedMemory
    block: int
    bell: Bell
    controller_bell: Bell
    control: socket.socket
    sockets: tuple[tuple[socket.socket, Listener], ...]
    workers: int  # of the crew, itself included: they share what is limited for all of them together
    shutdown_timeout_s: float
    access_log: AccessLog | None


@dataclass(frozen=True, slots=True)
class ControllerSeat:
    memory: SharedMemory
    bells: list[Bell]  # one for each block, then our own
    admin: socket.socket
    config_path: str
    config_text: str  # as applied, which is not what somebody may be editing
    listeners: list[tuple[str, str, str, bool]]  # name, bind, address, preview
    supervisor_pid: int
