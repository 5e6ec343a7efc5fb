"""A line of the access log: which requests get one, what it tells, and how it is written.

Values in, bytes out: no I/O and no clock. Most of a line is the same for all requests of a connection, with a head, or
of an upstream, so it is made of parts that whoever writes lines may keep. Whatever bytes a client has sent, it cannot end a line, begin another
one or reach a terminal. Headers that carry credentials (Authorization, Cookie) are not among the values.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import Any, Final, Literal, NamedTuple, Protocol

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

# What a format makes of some values of an entry; nobody else looks into it.
Part = Any


class Format(Protocol):
    """A way to write lines. The values are those of `Entry`."""

    def client(self, peer: str, scheme: str, tls: str | None) -> Part: ...

    def asked(
        self,
        method: bytes,
        target: bytes,
        host: bytes | None,
        minor: int | None,
        referer: bytes | None,
        user_agent: bytes | None,
    ) -> Part: ...

    def place(
        self, service: str | None, pool: str | None, version: str | None, upstream: str | None
    ) -> Part: ...

    def line(
        self,
        ended_at: float,
        client: Part,
        asked: Part,
        place: Part,
        status: int,
        outcome: Outcome,
        attempts: int,
        request_bytes: int,
        response_bytes: int,
        connect_us: int | None,
        first_byte_us: int | None,
        duration_us: int,
        request_id: bytes | None,
    ) -> bytes: ...


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
    if step >= _WHOLE and not prefixes:
        return lambda status, duration_us, target: True  # noqa: ARG005 - everything

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


class Json:
    """One object in each line. The parts are pairs, or the text itself."""

    def __init__(self) -> None:
        # Requests end in order: most end in the same second as the one before.
        self._second = -1
        self._time = ""

    def client(self, peer: str, scheme: str, tls: str | None) -> tuple[str, str]:
        return _members({"client": peer}), _members({"scheme": scheme, "tls": tls})

    def asked(
        self,
        method: bytes,
        target: bytes,
        host: bytes | None,
        minor: int | None,
        referer: bytes | None,
        user_agent: bytes | None,
    ) -> tuple[str, str]:
        protocol = f"HTTP/1.{minor}" if method and minor is not None else None
        line = {"method": _text(method or None), "target": _text(target or None)}
        return (
            _members({**line, "host": _text(host), "protocol": protocol}),
            _members({"referer": _text(referer), "user_agent": _text(user_agent)}),
        )

    def place(self, service: str | None, pool: str | None, version: str | None, upstream: str | None) -> str:
        return _members({"service": service, "pool": pool, "version": version, "upstream": upstream})

    def line(
        self,
        ended_at: float,
        client: tuple[str, str],
        asked: tuple[str, str],
        place: str,
        status: int,
        outcome: Outcome,
        attempts: int,
        request_bytes: int,
        response_bytes: int,
        connect_us: int | None,
        first_byte_us: int | None,
        duration_us: int,
        request_id: bytes | None,
    ) -> bytes:
        passed_s = ended_at - self._second
        if not 0 <= passed_s < 1:
            self._second = second = int(ended_at)
            self._time = _iso(second)
            passed_s = ended_at - second
        peer, secured = client
        request, headers = asked
        duration = f"{duration_us // 1000}{_THOUSANDTHS[duration_us % 1000]}"
        first_byte = duration if first_byte_us == duration_us else _ms(first_byte_us)
        return (
            f'{{"time":"{self._time}{_MILLISECONDS[int(passed_s * 1000)]}Z",{peer},{request},{secured},'
            f'"status":{status},"outcome":"{outcome}",{place},"attempts":{attempts},"request_bytes":{request_bytes},'
            f'"response_bytes":{response_bytes},"connect_ms":{"null" if connect_us is None else _ms(connect_us)},'
            f'"first_byte_ms":{first_byte},"duration_ms":{duration},"request_id":{_id(request_id)},{headers}}}\n'
        ).encode()


class Combined:
    """Apache's `%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"`."""

    def client(self, peer: str, scheme: str, tls: str | None) -> str:  # noqa: ARG002 - as the format has it
        return _quoted(peer.encode())

    def asked(
        self,
        method: bytes,
        target: bytes,
        host: bytes | None,  # noqa: ARG002 - as the format has it
        minor: int | None,
        referer: bytes | None,
        user_agent: bytes | None,
    ) -> tuple[str, str]:
        request = "-"
        if method:
            protocol = "-" if minor is None else f"HTTP/1.{minor}"
            request = f"{_quoted(method)} {_quoted(target)} {protocol}"
        return request, f'"{_quoted(referer)}" "{_quoted(user_agent)}"'

    def place(
        self,
        service: str | None,
        pool: str | None,
        version: str | None,
        upstream: str | None,
    ) -> None:
        """The format does not have it."""

    def line(
        self,
        ended_at: float,
        client: str,
        asked: tuple[str, str],
        place: None,  # noqa: ARG002 - this and the rest: the format does not have it
        status: int,
        outcome: Outcome,  # noqa: ARG002
        attempts: int,  # noqa: ARG002
        request_bytes: int,  # noqa: ARG002
        response_bytes: int,
        connect_us: int | None,  # noqa: ARG002
        first_byte_us: int | None,  # noqa: ARG002
        duration_us: int,  # noqa: ARG002
        request_id: bytes | None,  # noqa: ARG002
    ) -> bytes:
        request, headers = asked
        return (
            f'{client} - - [{_clf(int(ended_at))}] "{request}" {status or CLIENT_LEFT} {response_bytes} {headers}\n'
        ).encode()


FORMATS: Final[dict[str, Format]] = {"json": Json(), "combined": Combined()}


def line_of(entry: Entry, form: Format) -> bytes:
    """The line of a request of which nothing is kept."""
    return form.line(
        entry.ended_at,
        form.client(entry.peer, entry.scheme, entry.tls),
        form.asked(entry.method, entry.target, entry.host, entry.minor, entry.referer, entry.user_agent),
        form.place(entry.service, entry.pool, entry.version, entry.upstream),
        entry.status,
        entry.outcome,
        entry.attempts,
        entry.request_bytes,
        entry.response_bytes,
        entry.connect_us,
        entry.first_byte_us,
        entry.duration_us,
        entry.request_id,
    )


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


def _iso(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


# A second is looked up many times before the next one comes.
@lru_cache(maxsize=4)
def _clf(second: int) -> str:
    year, month, day, hour, minute, seconds = time.gmtime(second)[:6]
    return f"{day:02d}/{_MONTHS[month - 1]}/{year:04d}:{hour:02d}:{minute:02d}:{seconds:02d} +0000"


# Those of the format, in every locale.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# What stands behind a number of whole seconds, and of whole milliseconds as JSON has it: as short as it can be.
_MILLISECONDS: Final = tuple(f".{number:03d}" for number in range(1000))
_THOUSANDTHS: Final = tuple(repr(number / 1000)[1:] for number in range(1000))


def _ms(duration_us: int | None) -> str:
    return "null" if duration_us is None else f"{duration_us // 1000}{_THOUSANDTHS[duration_us % 1000]}"


def _members(values: dict[str, str | None]) -> str:
    """What is inside of the braces of a JSON object."""
    return orjson.dumps(values)[1:-1].decode()


def _id(value: bytes | None) -> str:
    """Nearly every one is our own, and has nothing to escape."""
    if value is not None and value.isalnum():
        return f'"{value.decode()}"'
    return orjson.dumps(_text(value)).decode()


def _text(value: bytes | None) -> str | None:
    """For JSON, which escapes control characters itself. Other bytes than ASCII look as in `combined`."""
    return None if value is None else value.decode("ascii", "backslashreplace")


_is_printable = re.compile(rb"[ !#-\[\]-~]*+").fullmatch
_ESCAPED: Final = tuple(
    "\\" + chr(byte) if byte in b'"\\' else chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
    for byte in range(256)
)


def _quoted(value: bytes | None) -> str:
    if not value:
        return "-"
    return value.decode() if _is_printable(value) else "".join(map(_ESCAPED.__getitem__, value))
