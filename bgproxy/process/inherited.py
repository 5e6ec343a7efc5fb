"""Sockets that a service manager has opened for us (systemd's socket activation, sd_listen_fds(3)).

Owns finding them and telling whose they are. Never closes one that a listener has taken, nor binds anything.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Final

from bgproxy.config.address import parse_address
from bgproxy.process.sockets import address_of

FIRST_FD: Final = 3
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Inherited:
    """The sockets that nobody has taken yet, each with its name (FileDescriptorName=)."""

    def __init__(self, sockets: Iterable[tuple[str, socket.socket]] = ()) -> None:
        self._sockets = list(sockets)

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Inherited:
        """Takes what is meant for this process; the variables are removed, so that no child takes it too.

        Raises OSError if a descriptor is not a socket that listens for connections.
        """
        pid, count, names = (environment.pop(variable, "") for variable in _VARIABLES)
        if pid != str(os.getpid()) or not count:
            return cls()
        if not count.isdecimal():
            raise OSError(f"LISTEN_FDS is {count!r}, not the number of sockets")
        padded = [*names.split(":"), *[""] * int(count)]
        sockets: list[tuple[str, socket.socket]] = []
        try:
            for index, name in enumerate(padded[: int(count)]):
                sockets.append((name, _socket(FIRST_FD + index)))
                _check(sockets[-1][1])
        except OSError:
            for _, sock in sockets:
                sock.close()
            raise
        return cls(sockets)

    def take(self, name: str, bind: str) -> list[socket.socket]:
        """The sockets that have this name, or listen at this address; they are the caller's from now on."""
        taken = [sock for its, sock in self._sockets if (name and its == name) or _fits(bind, sock)]
        self._sockets = [(its, sock) for its, sock in self._sockets if sock not in taken]
        return taken

    def take_admin(self, bind: str) -> socket.socket | None:
        """By its address only: the rules on who may call the admin API without a token are about that.

        Raises OSError if it is a unix socket that everybody on this machine may write to.
        """
        taken = self.take("", bind)
        if not taken:
            return None
        sock = taken[0]
        if sock.family == socket.AF_UNIX:
            mode = stat.S_IMODE(Path(sock.getsockname()).stat().st_mode)
            if mode & stat.S_IWOTH:
                raise OSError(
                    f"the inherited admin socket {address_of(sock)} is open to everybody (mode {mode:o}): "
                    "set SocketMode=0660 or a stricter one"
                )
        return sock

    def refuse_rest(self) -> None:
        """Raises OSError if there is a socket that nobody has taken: clients would wait in its queue for ever."""
        for name, sock in self._sockets:
            raise OSError(
                f"the inherited socket {name!r} on {address_of(sock)} belongs to no listener: give a listener "
                "this `bind`, or its name to the socket (FileDescriptorName= of the .socket unit)"
            )


# Private


def _socket(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise OSError(f"the inherited descriptor {fd} cannot be used: {error.strerror}") from error
    os.set_inheritable(fd, False)
    return sock


def _check(sock: socket.socket) -> None:
    fd = sock.fileno()
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(f"the inherited descriptor {fd} does not listen for connections: use ListenStream=")
    if sock.family not in {socket.AF_INET, socket.AF_INET6} and not _has_path(sock):
        raise OSError(f"the inherited descriptor {fd} is neither TCP nor a unix socket with a path")


def _has_path(sock: socket.socket) -> bool:
    name = sock.getsockname()
    return sock.family == socket.AF_UNIX and isinstance(name, str) and name.startswith("/")


def _fits(bind: str, sock: socket.socket) -> bool:
    address = parse_address(bind, any_port=True)
    name = sock.getsockname()
    if address.path is not None:
        return bool(name == address.path)
    if sock.family == socket.AF_UNIX or address.port != name[1]:
        return False
    infos = socket.getaddrinfo(
        address.host, address.port, sock.family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return any(info[4][0] == name[0] for info in infos)
