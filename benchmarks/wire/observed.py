"""What was seen on both sides of a proxy during a case, read by parsers that are not ours. Pure, no I/O.

Requests are read by h11 and again by llhttp (httptools): what these two do not read alike is ambiguous, whatever
it was meant to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import Final, Literal

import h11
import httptools

End = Literal["open", "closed", "reset"]
Fields = list[tuple[bytes, bytes]]

# The heads of some cases are larger than what h11 allows by default.
HEAD_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Request:
    method: bytes
    target: bytes
    fields: Fields
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    whole: bool = False
    number: int = field(default_factory=count().__next__)

    def get(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


@dataclass(slots=True)
class Response:
    status: int
    fields: Fields
    informational: list[tuple[int, Fields]]
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    whole: bool = False

    def get(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


class RequestReader:
    """Reads requests from a connection as they come. After a `fault`, nothing more is read."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: str | None = None
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    def feed(self, data: bytes) -> None:
        if self.fault is not None or not data:
            return
        try:
            self._parser.receive_data(data)
            while self._step():
                pass
        except h11.RemoteProtocolError as error:
            self.fault = str(error)

    def _step(self) -> bool:
        event = self._parser.next_event()
        if isinstance(event, h11.Request):
            self.requests.append(Request(event.method, event.target, list(event.headers)))
        elif isinstance(event, h11.Data):
            self.requests[-1].body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self.requests[-1].trailers = list(event.headers)
            self.requests[-1].whole = True
            behind = self._parser.trailing_data[0]
            self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
            if behind:
                self._parser.receive_data(behind)
        else:
            return False
        return True


class _Llhttp:
    """The callbacks of httptools: the same requests as (method, target, body)."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, bytes]] = []
        self.parser = httptools.HttpRequestParser(self)
        self._target = self._body = b""

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.requests.append((self.parser.get_method(), self._target, self._body))


def disagreement(raw: bytes, requests: list[Request]) -> str | None:
    """Why llhttp does not read these whole requests in `raw`, too; None if it does."""
    reader = _Llhttp()
    expected = [(each.method, each.target, bytes(each.body)) for each in requests]
    try:
        reader.parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        # It reads no further than this head: what follows may be another protocol.
        expected = [(*each[:2], b"") for each in expected[: len(reader.requests)]]
        reader.requests = [(*each[:2], b"") for each in reader.requests]
    except httptools.HttpParserInvalidMethodError:
        return None  # it knows a list of methods only
    except httptools.HttpParserError as error:
        return f"llhttp: {error}"
    return None if reader.requests == expected else "h11 and llhttp read different requests"


def read_responses(raw: bytes, end: End, methods: tuple[str, ...]) -> tuple[list[Response], str | None]:
    """The responses to requests of these methods, and what is wrong behind them."""
    responses: list[Response] = []
    try:
        for method in methods:
            if not raw:
                break
            parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
            upgrade = [("Upgrade", "websocket"), ("Connection", "upgrade")] if method == "UPGRADE" else []
            name = "GET" if method == "UPGRADE" else method
            parser.send(h11.Request(method=name, target="/", headers=[("Host", "a"), *upgrade]))
            parser.send(h11.EndOfMessage())
            parser.receive_data(raw)
            if end == "closed":
                parser.receive_data(b"")
            raw = _read_response(parser, responses)
    except h11.RemoteProtocolError as error:
        return responses, str(error)
    return responses, None


def _read_response(parser: h11.Connection, responses: list[Response]) -> bytes:
    """Appends one response and returns what is behind it."""
    informational: list[tuple[int, Fields]] = []
    while True:
        event = parser.next_event()
        if isinstance(event, h11.InformationalResponse):
            informational.append((event.status_code, list(event.headers)))
            if event.status_code == 101:
                responses.append(Response(101, list(event.headers), informational, whole=True))
                return b""
        elif isinstance(event, h11.Response):
            responses.append(Response(event.status_code, list(event.headers), informational))
        elif isinstance(event, h11.Data):
            responses[-1].body += event.data
        elif isinstance(event, h11.EndOfMessage):
            responses[-1].trailers = list(event.headers)
            responses[-1].whole = True
            return parser.trailing_data[0]
        else:
            return b""


@dataclass(slots=True)
class ClientSide:
    """What one connection to the proxy has received."""

    raw: bytearray = field(default_factory=bytearray)
    end: End = "open"


@dataclass(slots=True)
class UpstreamSide:
    """What one connection from the proxy has received; `name` says which upstream it was."""

    name: str
    raw: bytearray = field(default_factory=bytearray)
    end: End = "open"
    reader: RequestReader = field(default_factory=RequestReader)

    @property
    def fault(self) -> str | None:
        """Why what arrived is not beyond doubt."""
        if self.reader.fault is not None:
            return f"h11: {self.reader.fault}"
        return disagreement(bytes(self.raw), [each for each in self.reader.requests if each.whole])


@dataclass(slots=True)
class Observed:
    """One run of a case. `missed` is what a script has waited for in vain."""

    methods: tuple[str, ...]
    clients: list[ClientSide] = field(default_factory=list)
    upstreams: list[UpstreamSide] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def requests(self) -> list[Request]:
        """The whole requests that reached an upstream, in the order in which they began."""
        whole = [each for side in self.upstreams for each in side.reader.requests if each.whole]
        return sorted(whole, key=attrgetter("number"))

    @property
    def responses(self) -> list[Response]:
        """Including one that is not whole; those to earlier connections first."""
        found: list[Response] = []
        for side in self.clients:
            found += read_responses(bytes(side.raw), side.end, self.methods[len(found) :])[0]
        return found

    @property
    def end(self) -> End:
        return self.clients[-1].end if self.clients else "open"
