"""Clients that stay connected and do nothing, and one that asks and asks among them."""

from __future__ import annotations

import math
import resource
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from types import TracebackType
from typing import Final, Self

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
PATIENCE_S: Final = 20.0
# What a process has open that is no client of ours.
DESCRIPTORS_RESERVED: Final = 400
# The kernel gives no worker so much more than its part.
UNEVEN: Final = 1.1


class CrowdError(Exception):
    """A client that was not served as it should be."""


class Crowd:
    """A context manager: so many connections on which nothing happens, gone at its end.

    With `asked`, each has had an answer before; else it never sent a byte.
    """

    def __init__(
        self, port: int, connections: int, *, asked: bool, tls: ssl.SSLContext | None = None
    ) -> None:
        self._port = port
        self._connections = connections
        self._asked = asked
        self._tls = tls
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        try:
            while len(self._sockets) < self._connections:
                client = connect(self._port, self._tls)
                self._sockets.append(client)
                if self._asked:
                    ask(client)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._leave()

    def ask_all(self) -> None:
        """Every one of them asks: it was really there all the time."""
        for client in self._sockets:
            ask(client)

    # Private

    def _leave(self) -> None:
        for client in self._sockets:
            client.close()


def connect(port: int, tls: ssl.SSLContext | None = None) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    if tls is None:
        return client
    return tls.wrap_socket(client, server_hostname="app.test")


def ask(client: socket.socket) -> None:
    """A small request, and its answer."""
    client.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        data = client.recv(4096)
        answer += data
        if not data or not answer.startswith(b"HTTP/1.1 200 "[: len(answer)]):
            raise CrowdError(f"a small request was answered with {answer[:400]!r}")


def latencies_s(ports: Sequence[int], requests: int) -> list[float]:
    """The median for each port, of so many requests, one after the other.

    The ports are asked in turn: what else the machine has to do is the same for all of them.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for port in ports]
        taken: list[list[float]] = [[] for _ in ports]
        for _ in range(requests):
            for client, times in zip(clients, taken, strict=True):
                began = time.perf_counter()
                ask(client)
                times.append(time.perf_counter() - began)
    return [median(times) for times in taken]


def workers_for(connections: int) -> int:
    """How many workers that takes: each needs two descriptors for a connection, and the hard limit is for each.

    Raises this process's own limit, which bgproxy inherits.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    left = hard - DESCRIPTORS_RESERVED
    if connections > left:
        raise CrowdError(
            f"{connections:,} connections need {connections + DESCRIPTORS_RESERVED:,} descriptors in one process, "
            f"and the hard limit is {hard:,}: raise it (ulimit -Hn)"
        )
    return 1 if 2 * connections <= left else math.ceil(2 * connections * UNEVEN / left)
