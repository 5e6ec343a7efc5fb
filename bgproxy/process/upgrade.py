"""Replacing the running program: the same process, children and descriptors, the code that is on disk now.

`execve` keeps the process id and every inheritable descriptor, so nobody outside notices: not the service
manager, not the children, not a client. What the new program has to know travels as numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from bgproxy.process.plan import Plan
from bgproxy.process.start import PROGRAM
from bgproxy.shared_memory.contract import fingerprint

PREFLIGHT_S: Final = 10.0  # nobody is restarted meanwhile


@dataclass(frozen=True, slots=True)
class Estate:
    """What a supervisor leaves to its successor. All numbers are descriptors but blocks and process ids."""

    config_path: str
    config_text: str
    plan: Plan
    memory: int
    bells: list[tuple[int, int]]
    admin: int
    listeners: list[tuple[str, str, list[int]]]  # name, bind, sockets
    inherited: list[int]  # those of all sockets that a service manager has opened
    controller: tuple[int, int] | None  # process id, control socket
    crews: list[list[tuple[int, int, int]]]  # block, process id, control socket

    def descriptors(self) -> list[int]:
        return [
            self.memory,
            self.admin,
            *(fd for pair in self.bells for fd in pair),
            *(fd for *_, sockets in self.listeners for fd in sockets),
            *(control for crew in self.crews for _, _, control in crew),
            *(() if self.controller is None else (self.controller[1],)),
        ]

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "plan": self.plan.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Estate:
        return cls(**{**values, "plan": Plan.from_json(values["plan"])})


def facts(version: str) -> str:
    """What a program says of itself when it is asked whether it could take over."""
    return json.dumps({"version": version, "memory": fingerprint()})


def preflight() -> str | None:
    """Why the program on disk cannot take over; None if it starts and shares the memory with our workers."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, *PROGRAM, "--preflight"], capture_output=True, timeout=PREFLIGHT_S, check=False
        )
        told = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return f"the program on disk does not start: {error}"
    if told is None:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return f"the program on disk does not start: {' '.join(last)}"
    if told["memory"] != fingerprint():
        return (
            f"version {told['version']} on disk lays out the shared memory differently; "
            "drain this instance and start it anew"
        )
    return None


def replace_program(estate: Estate) -> NoReturn:
    """Becomes the program on disk, which goes on with `read_estate`."""
    fd = os.memfd_create("bgproxy-upgrade", 0) if hasattr(os, "memfd_create") else _unlinked_file()
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(json.dumps(estate.to_json()).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    for inherited in (fd, *estate.descriptors()):
        os.set_inheritable(inherited, True)
    os.execv(sys.executable, [sys.executable, *PROGRAM, "--resume", str(fd)])  # noqa: S606 - no shell is wanted


def read_estate(fd: int) -> Estate:
    """What the predecessor left; its descriptors are ours alone again."""
    with os.fdopen(fd, "rb") as file:
        estate = Estate.from_json(json.load(file))
    for inherited in estate.descriptors():
        os.set_inheritable(inherited, False)
    return estate


# Private


def _unlinked_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
