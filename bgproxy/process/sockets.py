"""The listening sockets, which the supervisor alone creates and which outlive every worker.

A TCP listener has one SO_REUSEPORT socket for each worker, so that the kernel spreads connections and
each worker has a queue of its own. The number of sockets of a listener never shrinks: closing one would
reset the connections in its queue, so a smaller crew accepts on several. A unix socket, or one that a
service manager has opened, cannot have siblings: all workers accept on that one.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bgproxy.config.address import Address, parse_address
from bgproxy.model import Listener
from bgproxy.proxy.limits import BACKLOG

# A unix listener is open to all, like a TCP port; who may connect is the business of its directory.
PUBLIC_MODE: Final = 0o666
# Whoever can connect to an admin socket without tokens is admin.
ADMIN_MODE: Final = 0o600

_HINTS: Final = {
    errno.EACCES: "it is not allowed: ports below 1024 need CAP_NET_BIND_SERVICE, sockets a writable directory",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
}

Key = tuple[str, str]


def key_of(bind: str, name: str) -> Key:
    """By what a listener is the same one after a reload: its address, or its name if any port will do."""
    return (bind, name if bind.endswith(":0") else "")


@dataclass(slots=True)
class Listening:
    """One listener's sockets. `address` is where they really listen, also if port 0 was asked for.

    If they are `inherited`, whoever opened them listens on, and a unix socket's file is not ours to remove.
    """

    listener: Listener
    sockets: list[socket.socket] = field(default_factory=list)
    inherited: bool = False

    @property
    def name(self) -> str:
        return self.listener.name

    @property
    def bind(self) -> str:
        return self.listener.bind

    @property
    def address(self) -> str:
        return address_of(self.sockets[0])

    def grow(self, count: int) -> None:
        """Opens sockets until there are `count`, or one that all workers share."""
        if not self.sockets:
            self.sockets.append(open_socket(self.bind, f"listener {self.name}"))
        if self._is_shared():
            return
        while len(self.sockets) < count:
            self.sockets.append(_open_tcp(self.sockets[0].family, self.sockets[0].getsockname()))

    def share(self, index: int, workers: int) -> list[socket.socket]:
        """The sockets on which worker `index` of `workers` accepts."""
        if self._is_shared():
            return self.sockets
        return self.sockets[index::workers]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        if self.sockets[0].family == socket.AF_UNIX and not self.inherited:
            with contextlib.suppress(FileNotFoundError):
                Path(self.bind.removeprefix("unix:")).unlink()

    def _is_shared(self) -> bool:
        return self.inherited or self.sockets[0].family == socket.AF_UNIX


def open_socket(bind: str, setting: str, mode: int = PUBLIC_MODE) -> socket.socket:
    """A listening socket for `bind`. Raises OSError, with a message that names the address and `setting`, which asks for it.

    `mode` is that of a unix socket's file.
    """
    address = parse_address(bind, any_port=True)
    try:
        if address.path is not None:
            return _open_unix(address.path, mode)
        infos = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, sockaddr = infos[0]
        if address.port:
            # SO_REUSEPORT would let a second bgproxy take half of the traffic without a word.
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                _prepare(probe)
                probe.bind(sockaddr)
        return _open_tcp(family, sockaddr)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {bind} ({setting}): {_reason(error, address)}"
        ) from error


def address_of(sock: socket.socket) -> str:
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


# Private


def _reason(error: OSError, address: Address) -> str:
    if error.errno != errno.EADDRINUSE:
        return _HINTS.get(error.errno or 0) or error.strerror or str(error)
    if address.path is None:
        return "another program listens there (`ss -ltnp` shows which)"
    return "another program listens there (`ss -lxp` shows which), or a file is in the way"


def _open_tcp(family: int, sockaddr: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        _prepare(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockaddr)  # type: ignore[arg-type]
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _open_unix(path: str, mode: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(path)
        Path(path).chmod(mode)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Removes a socket file that nobody listens on; anything else is left for `bind` to stumble over."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
