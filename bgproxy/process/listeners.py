"""All that bgproxy listens on: the sockets of every listener, and that of the admin API.

Owns which listeners stay, come and go with a plan, and what remains open for those who still accept there.
Never accepts, and never closes a socket that a crew of workers may yet need.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from bgproxy.model import Listener
from bgproxy.process.inherited import Inherited
from bgproxy.process.plan import Plan
from bgproxy.process.sockets import ADMIN_MODE, Key, Listening, address_of, key_of, open_socket
from bgproxy.process.upgrade import Estate


class Listeners:
    def __init__(self) -> None:
        self.admin: socket.socket
        self._admin_inherited = False  # from a service manager
        self._open: dict[Key, Listening] = {}
        self._retired: list[Listening] = []  # not of the plan, but still accepted on

    # Coming and going

    def take_inherited(self, plan: Plan, inherited: Inherited) -> None:
        """What a service manager has opened for us; the admin socket is opened if it is not among that."""
        for listener in plan.listeners:
            sockets = inherited.take(listener.name, listener.bind)
            if sockets:
                key = key_of(listener.bind, listener.name)
                self._open[key] = Listening(listener, sockets, inherited=True)
        admin = inherited.take_admin(plan.admin)
        inherited.refuse_rest()
        self._admin_inherited = admin is not None
        self.admin = admin or open_socket(plan.admin, "admin.bind", ADMIN_MODE)

    def adopt(self, estate: Estate) -> None:
        """A predecessor's, admin socket and all."""
        self.admin = socket.socket(fileno=estate.admin)
        self._admin_inherited = estate.admin in estate.inherited
        settings = {listener.name: listener for listener in estate.plan.listeners}
        for name, bind, fds in estate.listeners:
            sockets = [socket.socket(fileno=fd) for fd in fds]
            inherited = fds[0] in estate.inherited
            self._open[key_of(bind, name)] = Listening(settings[name], sockets, inherited)

    def bind(self, plan: Plan) -> None:
        """Opens what `plan` needs and does not have; all of it or nothing."""
        wanted = {key_of(listener.bind, listener.name): listener for listener in plan.listeners}
        retired = {key_of(each.bind, each.name): each for each in self._retired}  # and still open
        opened: list[Listening] = []
        listeners: dict[Key, Listening] = {}
        try:
            for key, listener in wanted.items():
                listening = self._open.get(key) or retired.get(key)
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
        open_now = {**retired, **self._open}
        self._retired = [listening for key, listening in open_now.items() if key not in listeners]
        for key, listener in wanted.items():
            listeners[key].listener = listener
        self._open = listeners

    def close_retired(self) -> None:
        for listening in self._retired:
            listening.close()
        self._retired.clear()

    def close(self) -> None:
        """All but the admin API's, which is there until the end."""
        for listening in (*self._open.values(), *self._retired):
            listening.close()

    def remove_admin_file(self) -> None:
        if self.admin.family == socket.AF_UNIX and not self._admin_inherited:
            with contextlib.suppress(FileNotFoundError):
                Path(self.admin.getsockname()).unlink()

    # What there is

    def places(self) -> list[tuple[str, str, str, bool]]:
        """Of each listener: name, bind, address, preview."""
        return [(each.name, each.bind, each.address, each.listener.preview) for each in self._open.values()]

    def described(self) -> str:
        """For people."""
        places = ", ".join(f"{each.name} on {each.address}" for each in self._open.values())
        return f"{places}; admin on {address_of(self.admin)}"

    def share(self, index: int, workers: int) -> tuple[tuple[socket.socket, Listener], ...]:
        """The sockets on which worker `index` of `workers` accepts."""
        return tuple(
            (sock, each.listener) for each in self._open.values() for sock in each.share(index, workers)
        )

    def sockets(self) -> list[socket.socket]:
        listening = [sock for each in (*self._open.values(), *self._retired) for sock in each.sockets]
        return [*listening, self.admin]

    def descriptors(self) -> list[tuple[str, str, list[int]]]:
        """For a successor; of each listener: name, bind, sockets."""
        return [
            (each.name, each.bind, [sock.fileno() for sock in each.sockets]) for each in self._open.values()
        ]

    def inherited(self) -> list[int]:
        """Which of all sockets a service manager has opened."""
        theirs = [sock for each in self._open.values() if each.inherited for sock in each.sockets]
        return [sock.fileno() for sock in (*theirs, *([self.admin] if self._admin_inherited else []))]
