"""A timer of the kernel as a descriptor that epoll can watch: event loops round theirs to milliseconds.

Linux only. Python has these calls from 3.13 on.
"""

from __future__ import annotations

import ctypes
import os
import time
from types import TracebackType
from typing import Final, Self

_NS_PER_S: Final = 1_000_000_000
_CLOEXEC: Final = 0o2000000
_NONBLOCK: Final = 0o4000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Ticker:
    """A context manager: readable every `interval_ns`, counted from now, until it is closed."""

    def __init__(self, interval_ns: int) -> None:
        self._descriptor = _checked(_LIBC.timerfd_create(time.CLOCK_MONOTONIC, _CLOEXEC | _NONBLOCK))
        interval = divmod(interval_ns, _NS_PER_S)
        setting = _Itimerspec(*interval, *interval)
        _checked(_LIBC.timerfd_settime(self._descriptor, 0, ctypes.byref(setting), None))

    def fileno(self) -> int:
        return self._descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def take(self) -> int:
        """How many ticks have passed since the last time; only when it is readable. No more come before this."""
        return int.from_bytes(os.read(self._descriptor, 8), "little")


# Private


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the kernel gives no timer: {os.strerror(number)}")
    return result
