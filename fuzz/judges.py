"""Two parsers that owe us nothing, llhttp (of Node.js) and h11: what they read in bytes that we forward.

Each answer is the list of whole messages in the order in which they came. Bytes that do not end with a message,
or that the parser refuses, are a `Disagreement`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import h11
import httptools

# llhttp knows a list of methods and refuses all others; h11 takes any. These are in it, and mean nothing special.
METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"})

_BUFFER_BYTES: Final = 256 * 1024  # beyond every limit of ours: the judge is not to stumble over size


class Disagreement(AssertionError):
    """What we forwarded is not what somebody else reads."""


class Message(NamedTuple):
    """`start` is (method, target) or (status,); names are in lower case, values without space around them."""

    start: tuple[bytes | int, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


def llhttp_requests(data: bytes) -> list[Message]:
    read = _Read()
    parser: Any = httptools.HttpRequestParser(read)
    read.start = lambda: (parser.get_method(), read.url)
    return _llhttp(parser, read, data)


def llhttp_responses(data: bytes) -> list[Message]:
    """A body that lasts until the connection is closed ends with `data`; 1xx messages are left out."""
    read = _Read()
    parser: Any = httptools.HttpResponseParser(read)
    read.start = lambda: (parser.get_status_code(),)
    messages = _llhttp(parser, read, data)
    return [message for message in messages if message.start[0] == 101 or int(message.start[0]) >= 200]


def h11_requests(data: bytes) -> list[Message]:
    messages: list[Message] = []
    connection = h11.Connection(h11.SERVER, _BUFFER_BYTES)
    connection.receive_data(data)
    try:
        while (message := _h11(connection)) is not None:
            messages.append(message)
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
        raise Disagreement(f"h11 refuses {data!r}: {error}") from error
    if connection.trailing_data[0]:
        raise Disagreement(f"to h11, {data!r} does not end with a message")
    return messages


def h11_response(method: bytes, data: bytes) -> tuple[Message, bytes]:
    """The final response to one request, and what follows it; the end of `data` is that of the connection."""
    connection = h11.Connection(h11.CLIENT, _BUFFER_BYTES)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    try:
        message = _h11(connection, closed=True)
    except h11.RemoteProtocolError as error:
        raise Disagreement(f"h11 refuses {data!r}: {error}") from error
    if message is None:
        raise Disagreement(f"to h11 there is no whole response in {data!r}")
    return message, connection.trailing_data[0]


# Private


class _Read:
    """What llhttp calls back."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.start: Any = None
        self.url = b""
        self.is_open = False  # the last message has begun and not ended
        self._fields: list[tuple[bytes, bytes]] = []
        self._body = b""
        self._in_head = False

    def on_message_begin(self) -> None:
        self.url = self._body = b""
        self._fields = []
        self.is_open = self._in_head = True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.is_open = False
        self.messages.append(Message(self.start(), tuple(self._fields), self._body))


def _llhttp(parser: Any, read: _Read, data: bytes) -> list[Message]:
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as upgrade:
        # llhttp stops behind a head that asks for another protocol; from there on it reads afresh.
        end = upgrade.args[0]
        return read.messages + llhttp_requests(data[end:]) if end < len(data) else read.messages
    except httptools.HttpParserError as error:
        raise Disagreement(f"llhttp refuses {data!r}: {error}") from error
    if read.is_open:
        read.on_message_complete()
    return read.messages


def _h11(connection: h11.Connection, *, closed: bool = False) -> Message | None:
    """The next message, if it is whole; `closed`: nothing follows what was received."""
    start: tuple[bytes | int, ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            start, fields = (event.method, event.target), tuple(event.headers)
        elif isinstance(event, h11.Response):
            start, fields = (event.status_code,), tuple(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Message(start, fields, body)
        elif event is h11.NEED_DATA and closed:
            connection.receive_data(b"")
            closed = False
        elif not isinstance(event, h11.InformationalResponse):
            return None
