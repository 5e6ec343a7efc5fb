"""One child process of the supervisor: forked, spoken to over a control socket, reaped.

Messages are lines. The supervisor forks before any event loop or thread exists in it, so a child begins
with everything imported and nothing running.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Final

logger = logging.getLogger("bgproxy.supervisor")

RESET_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
EXIT_CRASHED: Final = 70  # EX_SOFTWARE


class Child:
    """A running child. `role` is `controller` or `worker`."""

    def __init__(self, role: str, pid: int, control: socket.socket, started: float) -> None:
        self.role = role
        self.pid = pid
        self.control = control
        self.started = started
        self.ready = False
        self.leaving = False  # it was told to make room for its successor
        self._received = b""

    @classmethod
    def fork(cls, role: str, run: Callable[[socket.socket], int], close: Iterable[socket.socket]) -> Child:
        """Starts `run(control)` in a new process, where the sockets in `close` are closed first."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become(run, theirs, (ours, *close))
        theirs.close()
        ours.setblocking(False)
        return cls(role, pid, ours, time.monotonic())

    def tell(self, message: str) -> None:
        """Sends one line. A child that is gone cannot hear it, which its exit will tell."""
        try:
            self.control.sendall(message.encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            return
        except BlockingIOError:
            # It has not listened for hundreds of lines. Whoever waits for it stands still with it.
            logger.warning("the %s (pid %d) does not listen: %s is lost on it", self.role, self.pid, message)

    def hear(self) -> list[bytes] | None:
        """The lines that have arrived; None when the child has closed its end."""
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        if not data:
            return None
        *lines, self._received = (self._received + data).split(b"\n")
        return lines

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless the child has been reaped in the meantime."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def _become(
    run: Callable[[socket.socket], int], control: socket.socket, close: Iterable[socket.socket]
) -> None:
    """The child's side of the fork; never returns."""
    code = EXIT_CRASHED
    try:
        signal.set_wakeup_fd(-1)
        for number in RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET_SIGNALS)
        for sock in close:
            sock.close()
        code = run(control)
    except BaseException:  # noqa: BLE001 - whatever it was, the child must not return into the supervisor
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
