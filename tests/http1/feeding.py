"""Feeds a parser the same bytes in every way in which a network may deliver them, and wants one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from bgproxy.errors import ProxyError
from bgproxy.http1.fields import DEFAULT_LIMITS
from bgproxy.http1.framing import ChunkedScanner
from bgproxy.http1.head import RequestHead, ResponseHead, parse_request, parse_response
from bgproxy.model import HeadLimits
from fuzz.properties import attributes

NEXT_MESSAGE: Final = b"POST /next HTTP/1.1\r\nHost: other\r\nContent-Length: 9\r\n\r\n"
OTHER_REQUEST: Final = b"GET / HTTP/1.0\r\n\r\n"
# Byte by byte is quadratic; of a head beyond this size only some prefixes and the last ones are tried.
EVERY_PREFIX_BYTES: Final = 2048
LONG_STEP_BYTES: Final = 499

Head = TypeVar("Head", RequestHead, ResponseHead)
Parser = Callable[[bytes, Head | None], Head | None]


@dataclass(frozen=True)
class Refused:
    status: int


@dataclass(frozen=True)
class Body:
    """What a scanner handed on, what it left over, and whether the body has ended."""

    handed_on: bytes
    rest: bytes
    done: bool


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join((start, *([host] if host else []), *lines)) + b"\r\n\r\n"


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((start, *lines)) + b"\r\n\r\n"


def meaning(head: RequestHead | ResponseHead) -> dict[str, Any]:
    """All that a head says, so that two of them can be compared."""
    values = _attributes(head)
    values["fields"] = _attributes(values["fields"])
    return values


def feed_request(data: bytes, limits: HeadLimits = DEFAULT_LIMITS) -> RequestHead | Refused | None:
    return _feed_head(partial(parse_request, limits=limits), data)


def feed_response(data: bytes) -> ResponseHead | Refused | None:
    return _feed_head(parse_response, data)


def accepted_request(data: bytes) -> RequestHead:
    head = feed_request(data)
    assert isinstance(head, RequestHead), f"{head} for {data!r}"
    return head


def accepted_response(data: bytes) -> ResponseHead:
    head = feed_response(data)
    assert isinstance(head, ResponseHead), f"{head} for {data!r}"
    return head


def feed_body(data: bytes, *, decode: bool = False, status: int = 400) -> Body | Refused:
    """Whole, byte by byte, in two parts wherever it can be cut, and with trailing bytes."""

    def scan(pieces: Iterable[bytes]) -> Body | Refused:
        return _scan(pieces, decode=decode, status=status)

    whole = scan([data])
    assert scan(data[index : index + 1] for index in range(len(data))) == whole
    for cut in range(len(data) + 1):
        assert scan([data[:cut], data[cut:]]) == whole, f"differs if cut at {cut}"
    if isinstance(whole, Body) and whole.done:
        behind = Body(whole.handed_on, whole.rest + NEXT_MESSAGE, done=True)
        assert scan([data + NEXT_MESSAGE]) == behind
        assert scan([data, NEXT_MESSAGE]) == behind
    elif isinstance(whole, Refused):
        assert scan([data + NEXT_MESSAGE]) == whole
    return whole


# Private


def _feed_head(parse: Parser[Head], data: bytes) -> Head | Refused | None:
    whole = _outcome(parse, data)
    first = next((result for end in _prefixes(data) if (result := _outcome(parse, data[:end]))), None)
    _same(first, whole, "byte by byte")
    if isinstance(whole, Refused):
        _same(_outcome(parse, data + NEXT_MESSAGE), whole, "with trailing bytes")
    elif whole is not None:
        assert whole.size <= len(data)
        _same(_outcome(parse, data + NEXT_MESSAGE), whole, "with trailing bytes")
        _same(_outcome(parse, data + NEXT_MESSAGE, whole), whole, "with itself as memo")
        _same(_outcome(parse, data, _other(parse)), whole, "with a memo of another head")
    return whole


def _outcome(parse: Parser[Head], data: bytes, memo: Head | None = None) -> Head | Refused | None:
    try:
        return parse(data, memo)
    except ProxyError as error:
        return Refused(error.status)


def _same(other: Head | Refused | None, whole: Head | Refused | None, how: str) -> None:
    if isinstance(whole, (RequestHead, ResponseHead)) and isinstance(other, (RequestHead, ResponseHead)):
        assert meaning(other) == meaning(whole), how
    else:
        assert other == whole, how


def _attributes(thing: object) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in attributes(thing)}


def _prefixes(data: bytes) -> Iterable[int]:
    size = len(data)
    if size <= EVERY_PREFIX_BYTES:
        return range(size + 1)
    return (*range(0, size - 8, LONG_STEP_BYTES), *range(size - 8, size + 1))


def _other(parse: Parser[Head]) -> Head:
    other = parse(b"HTTP/1.1 200\r\nA: b\r\n\r\n" if parse is parse_response else OTHER_REQUEST, None)
    assert other is not None
    return other


def _scan(pieces: Iterable[bytes], *, decode: bool, status: int) -> Body | Refused:
    scanner = ChunkedScanner(status, decode=decode)
    handed_on = rest = b""
    try:
        for piece in pieces:
            if scanner.done:
                rest += piece
            else:
                out, rest = scanner.feed(piece)
                handed_on += out
    except ProxyError as error:
        return Refused(error.status)
    return Body(handed_on, rest, scanner.done)
