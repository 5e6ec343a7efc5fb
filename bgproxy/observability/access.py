"""A line of the access log: which requests get one, what it tells, and how it is written.

Values in, bytes out: no I/O and no clock. Whatever bytes a client has sent, it cannot end a line, begin another
one or reach a terminal. Headers that carry credentials (Authorization, Cookie) are not among the values.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import Final, Literal, NamedTuple

import orjson

from bgproxy.model import AccessLog

# How a request ended.
Outcome = Literal[
    "ok",
    "upgraded",
    "closed",  # a TCP connection, by bgproxy: its time was up
    "refused",  # by bgproxy, for what the client asked or how
    "unavailable",  # nobody could serve it: nobody healthy, a full queue, maintenance
    "connect_failed",  # this and the next three: of the last upstream that was tried
    "upstream_reset",
    "upstream_timeout",
    "upstream_invalid",
    "client_error",  # it broke off or spoiled its request when the response had begun
    "client_left",
]

# What stands for status 0 in the combined format, whose readers expect a status: nginx's word for it.
CLIENT_LEFT: Final = 499

# The unit in which shares are counted, exactly.
_WHOLE: Final = 1_000_000


class Entry(NamedTuple):
    """One request, as it was at its end. None: it did not come to that, or nothing was said.

    Headers and the request line are as they were sent; method and target are empty if they could not be read.
    `peer` is an address without a port, empty on a unix socket. `attempts` are those to send it to an upstream,
    the first one included. `response_bytes` is all that was written to the client, the head included;
    `request_bytes` is the body only.
    """

    ended_at: float
    peer: str
    method: bytes
    target: bytes
    host: bytes | None
    minor: int | None  # None: it is no HTTP
    scheme: str
    tls: str | None
    status: int  # 0: no answer was begun
    outcome: Outcome
    service: str | None
    pool: str | None
    version: str | None
    upstream: str | None  # the last one that was tried
    attempts: int
    request_bytes: int
    response_bytes: int
    connect_us: int | None  # None: a connection that was there
    first_byte_us: int | None  # until the head of the response
    duration_us: int
    request_id: bytes | None
    referer: bytes | None
    user_agent: bytes | None


Wants = Callable[[int, int, bytes], bool]
Format = Callable[[Entry], bytes]


def rule(settings: AccessLog) -> Wants:
    """Whether a request with this status (0: no answer), duration (µs) and target gets a line.

    The sample is counted and not drawn by chance: of any N requests in a row, as many as its share says.
    """
    step = round(settings.sample * _WHOLE)
    counted = _WHOLE - 1  # the first one is in it
    always = settings.always_status is not None
    status_from = settings.always_status or inf
    slower_us = inf if settings.always_slower_s is None else settings.always_slower_s * 1e6
    prefixes = tuple(path.encode().rstrip(b"/") for path in settings.except_paths)

    def wants(status: int, duration_us: int, target: bytes) -> bool:
        nonlocal counted
        if prefixes and target.startswith(prefixes) and _is_below(target, prefixes):
            return False
        if status >= status_from or (always and not status) or duration_us >= slower_us:
            return True
        counted += step
        if counted < _WHOLE:
            return False
        counted -= _WHOLE
        return True

    return wants


def json_line(entry: Entry) -> bytes:
    second = int(entry.ended_at)
    return orjson.dumps(
        {
            "time": f"{_iso(second)}.{int((entry.ended_at - second) * 1000):03d}Z",
            "client": entry.peer,
            "method": _text(entry.method or None),
            "target": _text(entry.target or None),
            "host": _text(entry.host),
            "protocol": f"HTTP/1.{entry.minor}" if entry.method and entry.minor is not None else None,
            "scheme": entry.scheme,
            "tls": entry.tls,
            "status": entry.status,
            "outcome": entry.outcome,
            "service": entry.service,
            "pool": entry.pool,
            "version": entry.version,
            "upstream": entry.upstream,
            "attempts": entry.attempts,
            "request_bytes": entry.request_bytes,
            "response_bytes": entry.response_bytes,
            "connect_ms": _ms(entry.connect_us),
            "first_byte_ms": _ms(entry.first_byte_us),
            "duration_ms": _ms(entry.duration_us),
            "request_id": _text(entry.request_id),
            "referer": _text(entry.referer),
            "user_agent": _text(entry.user_agent),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def combined_line(entry: Entry) -> bytes:
    """Apache's `%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"`."""
    request = b"-"
    if entry.method:
        protocol = b"-" if entry.minor is None else b"HTTP/1.%d" % entry.minor
        request = b"%b %b %b" % (_quoted(entry.method), _quoted(entry.target), protocol)
    return b'%b - - [%b] "%b" %d %d "%b" "%b"\n' % (
        _quoted(entry.peer.encode()),
        _clf(int(entry.ended_at)),
        request,
        entry.status or CLIENT_LEFT,
        entry.response_bytes,
        _quoted(entry.referer),
        _quoted(entry.user_agent),
    )


FORMATS: Final[dict[str, Format]] = {"json": json_line, "combined": combined_line}


# Private


def _is_below(target: bytes, prefixes: tuple[bytes, ...]) -> bool:
    """Prefixes end at segment boundaries, as those of services do.

    What an upstream may resolve to another path (RFC 3986 sections 2.1 and 5.2.4) hides nobody: with it,
    a client could choose to leave no line.
    """
    path = target.partition(b"?")[0]
    if b"/." in path or b"%" in path or b"\\" in path:
        return False
    return any(path == prefix or path.startswith(prefix + b"/") for prefix in prefixes)


# Requests end in order, so that a second is looked up many times before the next one comes.
@lru_cache(maxsize=4)
def _iso(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=4)
def _clf(second: int) -> bytes:
    year, month, day, hour, minute, seconds = time.gmtime(second)[:6]
    return b"%02d/%b/%04d:%02d:%02d:%02d +0000" % (day, _MONTHS[month - 1], year, hour, minute, seconds)


# Those of the format, in every locale.
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def _ms(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / 1000


def _text(value: bytes | None) -> str | None:
    """For JSON, which escapes control characters itself. Other bytes than ASCII look as in `combined`."""
    return None if value is None else value.decode("ascii", "backslashreplace")


_is_printable = re.compile(rb"[ !#-\[\]-~]*+").fullmatch
_ESCAPED: Final = tuple(
    b"\\" + bytes((byte,)) if byte in b'"\\' else bytes((byte,)) if 0x20 <= byte < 0x7F else b"\\x%02x" % byte
    for byte in range(256)
)


def _quoted(value: bytes | None) -> bytes:
    if not value:
        return b"-"
    return value if _is_printable(value) else b"".join(map(_ESCAPED.__getitem__, value))
