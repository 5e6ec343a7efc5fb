"""What an upstream is told about a client: X-Forwarded-*, Forwarded, Via, X-Request-Id and traceparent.

A peer that is trusted is another proxy: what it says of its client is kept and added to. What anybody else
says is replaced, because applications believe these fields.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple

from bgproxy.http1.fields import Fields, request_fields
from bgproxy.model import Forwarding

PSEUDONYM: Final = b"bgproxy"  # RFC 9110 section 7.6.3: in place of a host name, which is nobody's business

_NO_FIELDS: Final = request_fields(b"")
# Where the id is in a line of X-Request-Id, and what begins that line and no other that an `Identity` makes.
_ID_START: Final = 14
_ID_END: Final = 46
_FIRST: Final = ord("X")

# The end of a head, which is another one for each request.
Identity = Callable[[], bytes]


class Client(NamedTuple):
    """What is the same for all requests of one connection. `peer` is an address, or `unix:`."""

    peer: bytes
    scheme: bytes
    port: bytes  # that the client connected to; empty on a unix socket
    trusted: bool


def lines(fields: Fields, host: bytes, minor: int, client: Client, settings: Forwarding) -> bytes:
    """The fields for the head that goes upstream, each with its CRLF; `fields.forward` has none of them.

    `host` is what the request is for, `minor` the version that it came in.
    """
    trusted = client.trusted
    out: list[bytes] = []
    if settings.x_forwarded:
        out += _x_forwarded(fields, host, client)
    elif trusted:
        out += _kept(fields)
    if settings.forwarded:
        element = forwarded_element(client, host)
        seen = fields.forwarded if trusted else None
        out.append(b"Forwarded: " + (element if seen is None else seen + b", " + element))
    elif trusted and fields.forwarded is not None:
        out.append(b"Forwarded: " + fields.forwarded)
    if settings.via:
        out.append(b"Via: 1.%d " % minor + PSEUDONYM)
    if fields.request_id is not None:
        out.append(b"X-Request-Id: " + fields.request_id)
    out.append(b"")
    return b"\r\n".join(out)


def usual_lines(scheme: bytes, port: bytes, settings: Forwarding) -> bytes | None:
    """`lines` for a request in HTTP/1.1 whose client claims nothing, with a `%b` for its address and one for the host.

    None if it takes more to make them.
    """
    if settings.forwarded or not settings.x_forwarded:
        return None
    return lines(_NO_FIELDS, b"%b", 1, Client(b"%b", scheme, port, trusted=False), settings)


def forwarded_element(client: Client, host: bytes) -> bytes:
    """One element of Forwarded (RFC 7239 section 4); IPv6 addresses are quoted (section 6)."""
    peer = client.peer
    if b":" in peer:
        peer = b'"_unix"' if peer.startswith(b"unix:") else b'"[' + peer + b']"'
    element = b"for=" + peer + b";proto=" + client.scheme
    return element + b';host="' + host + b'"' if host else element


def identity(settings: Forwarding, fields: Fields = _NO_FIELDS) -> Identity | None:
    """What ends the heads with these fields, if it is another for each request; None: an empty line does.

    An X-Request-Id that came is kept, and so is a trace.
    """
    wants_id = settings.request_id and fields.request_id is None
    wants_trace = settings.traceparent and fields.traceparent is None
    if wants_id and wants_trace:
        return _id_and_trace
    if wants_id:
        return _IDS.line
    return _trace if wants_trace else None


def request_id_of(fields: Fields, tail: bytes) -> bytes:
    """The id under which an upstream knows a request; `tail` is what an `Identity` made."""
    if fields.request_id is not None:
        return fields.request_id
    return tail[_ID_START:_ID_END] if tail[0] == _FIRST else b""


# Private


class _Ids:
    """Numbers of 32 hexadecimal digits that nobody else makes: a random beginning, and counted on.

    The last digits are made in advance, each with the end of a head: a request is spared half of the cost.
    """

    _DIGITS: Final = 3
    _LAST: Final = tuple(b"%03x\r\n\r\n" % number for number in range(16**_DIGITS))

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Workers are forked: each begins anew."""
        self._random = os.urandom(8).hex().encode()
        self._round = int.from_bytes(os.urandom(5), "big")
        self._next_round()

    def line(self) -> bytes:
        """An X-Request-Id, which ends a head."""
        try:
            return self._line + self._last()
        except StopIteration:
            self._next_round()
            return self._line + self._last()

    def _next_round(self) -> None:
        self._round += 1
        self._line = b"X-Request-Id: %b%013x" % (self._random, self._round)
        self._last = iter(self._LAST).__next__


_IDS: Final = _Ids()
os.register_at_fork(after_in_child=_IDS.begin)


def _trace() -> bytes:
    return _traceparent(_IDS.line()[_ID_START:_ID_END]) + b"\r\n"


def _id_and_trace() -> bytes:
    """The trace has the request's own id."""
    line = _IDS.line()
    return line[:-2] + _traceparent(line[_ID_START:_ID_END]) + b"\r\n"


def _traceparent(trace_id: bytes) -> bytes:
    """W3C Trace Context level 1, section 3.2: version, trace id, parent id, flags."""
    return b"traceparent: 00-" + trace_id + b"-" + trace_id[16:] + b"-01\r\n"


def _x_forwarded(fields: Fields, host: bytes, client: Client) -> list[bytes]:
    seen, proto, first_host, port = client.peer, client.scheme, host, client.port
    if client.trusted:
        if fields.forwarded_for is not None:
            seen = fields.forwarded_for + b", " + seen
        proto = fields.forwarded_proto or proto
        first_host = fields.forwarded_host or host
        port = fields.forwarded_port or port
    out = [b"X-Forwarded-For: " + seen, b"X-Forwarded-Proto: " + proto]
    if first_host:
        out.append(b"X-Forwarded-Host: " + first_host)
    if port:
        out.append(b"X-Forwarded-Port: " + port)
    return out


def _kept(fields: Fields) -> list[bytes]:
    kept = (
        (b"X-Forwarded-For: ", fields.forwarded_for),
        (b"X-Forwarded-Proto: ", fields.forwarded_proto),
        (b"X-Forwarded-Host: ", fields.forwarded_host),
        (b"X-Forwarded-Port: ", fields.forwarded_port),
    )
    return [name + value for name, value in kept if value is not None]
