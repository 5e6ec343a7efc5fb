"""Request and response heads: bytes in, validated values out, or a `ProxyError`.

A head is refused unless it can be read in exactly one way (RFC 9112 sections 2.2, 3, 5, 6 and 11.2),
because whatever this file lets through is forwarded and read again by somebody else's parser.

Peers repeat themselves on a kept-alive connection, so the last head may be passed in again as a memo. The
same bytes mean the same: a repeated head costs one comparison, and a repeated header block behind another
start line (most clients' next request) costs the start line and one comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from bgproxy.errors import ProxyError
from bgproxy.http1.fields import (
    DEFAULT_LIMITS,
    TOKEN,
    VALUE,
    Fields,
    bad_response,
    is_host,
    request_fields,
    response_fields,
)
from bgproxy.http1.limits import RESPONSE_HEAD_BYTES
from bgproxy.model import HeadLimits

__all__ = ["Fields", "RequestHead", "ResponseHead", "parse_request", "parse_response", "skip_empty_line"]

# A target has no fragment, and a tunnel is no message to relay, whatever its target looks like.
_METHOD: Final = rb"(?!CONNECT )(" + TOKEN + rb") "
_USUAL_LINE: Final = re.compile(_METHOD + rb"(/[\x21\x22\x24-\x7e]*+) HTTP/1\.1\r\n").match
_REQUEST_LINE: Final = re.compile(_METHOD + rb"([\x21\x22\x24-\x7e]++) HTTP/1\.[0-9]\r\n").match
# RFC 9112 section 2.3: a version is two digits and a dot; what is not is no version but a malformed line.
_OTHER_VERSION: Final = re.compile(rb"[^\r\n]+ HTTP/[02-9]\.[0-9]\r\n").match
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9][0-9])(?: " + VALUE + rb")?\r\n").match

_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]+)([/?].*)?").fullmatch

# What `parse_request` asks about a header block.
ReadBlock = Callable[[bytes, HeadLimits], Fields]


class RequestHead:
    """One request's head. Immutable, as `Fields` is.

    `raw` is the whole head as received and `size` its length; `target` is in origin or asterisk form. `line_bytes` is
    the length of a request line that can be passed on as it is, else 0. `has_body` is whether anything follows that is
    the request's, `keeps` whether the client wants to keep the connection, `plain` whether it speaks HTTP/1.1 and
    takes a response body, so that most responses can be passed on to it as they are, or with nothing but the word
    that the connection ends. `logged` is the access log's own.
    """

    __slots__ = (
        "fields",
        "has_body",
        "host",
        "keeps",
        "line_bytes",
        "logged",
        "method",
        "minor",
        "plain",
        "raw",
        "size",
        "target",
    )

    def __init__(
        self,
        raw: bytes,
        method: bytes,
        target: bytes,
        minor: int,
        host: bytes,
        fields: Fields,
        line_bytes: int = 0,
    ) -> None:
        self.raw = raw
        self.size = len(raw)
        self.method = method
        self.target = target
        self.minor = minor
        self.host = host
        self.fields = fields
        self.line_bytes = line_bytes
        self.logged: Any = None
        self.has_body = bool(fields.content_length) or fields.chunked
        self.keeps = not fields.close and (minor == 1 or fields.keep_alive)
        self.plain = minor == 1 and method != b"HEAD"


class ResponseHead:
    """One response's head. Immutable, as `Fields` is, but for its date.

    `raw` is the whole head as received, `line` the part of its status line behind the version. `plain` is
    the head as a `RequestHead.plain` client gets it that keeps its connection, `last` as one gets it that does
    not, if the body is `length` bytes long (0 or more) and the upstream keeps the connection; `length` is -1 if
    any of this is not so. `date` is the line of a Date that the upstream has left out, once it is known.
    """

    __slots__ = ("_last", "date", "fields", "length", "line", "minor", "plain", "raw", "size", "status")

    def __init__(self, raw: bytes, status: int, minor: int, fields: Fields, line_size: int) -> None:
        self.raw = raw
        self.size = len(raw)
        self.status = status
        self.minor = minor
        self.fields = fields
        self.line = raw[8:line_size]
        self.date = b""
        self.length = -1
        self.plain = raw
        self._last = b""
        special = status < 200 or status in (204, 304) or fields.upgrade is not None
        if minor == 1 and not special and not fields.close:
            if fields.content_length is not None:
                self.length = fields.content_length
            if fields.forward is not fields.raw or not raw.startswith(b"HTTP/1.1"):
                self.plain = b"HTTP/1.1" + self.line + fields.forward + b"\r\n"

    def add_date(self, date: bytes) -> None:
        """RFC 9110 section 6.6.1: who passes on a response without a Date adds when it came."""
        if self.fields.get(b"date") is None:
            self.date = b"Date: " + date + b"\r\n"
            self.plain = b"HTTP/1.1" + self.line + self.fields.forward + self.date + b"\r\n"

    @property
    def last(self) -> bytes:
        if not self._last:
            block = self.fields.forward + self.date + b"Connection: close\r\n"
            self._last = b"HTTP/1.1" + self.line + block + b"\r\n"
        return self._last


def parse_request(
    data: bytes,
    memo: RequestHead | None = None,
    limits: HeadLimits = DEFAULT_LIMITS,
    read_block: ReadBlock = request_fields,
) -> RequestHead | None:
    """Reads a request head from the start of `data`; None if it is not complete yet.

    `memo` is any head that was read before by the same limits, best the last one of the same client.
    `read_block` is `request_fields`, or somebody who remembers what that has said.
    Raises `ProxyError` with 400, 414, 417, 431, 501 or 505. Callers skip one leading CRLF (RFC 9112
    section 2.2) with `skip_empty_line` before they count anything as the beginning of a request.
    """
    if memo is not None and data.startswith(memo.raw):
        return memo
    usual = line = _USUAL_LINE(data)
    if line is None:
        line = _REQUEST_LINE(data)
        if line is None:
            _check_request_line(data, limits)
            return None
    start = line.end()
    if start > limits.request_line_bytes:
        raise ProxyError(414, "the request line is too long")
    fields = None
    if memo is not None:
        raw = memo.fields.raw
        size = start + len(raw) + 2
        if data[start : size - 2] == raw and data[size - 2 : size] == b"\r\n":
            fields = memo.fields
    if fields is None:
        end = data.find(b"\r\n\r\n", start - 2)
        if end < 0:
            _check_partial_block(data, start, limits)
            return None
        fields = read_block(data[start : end + 2], limits)
        size = end + 4
    method, target = line.groups()
    host = fields.host
    if usual is not None:
        if host is not None:
            return RequestHead(data[:size], method, target, 1, host, fields, start)
    else:
        old = data.startswith(b"0", start - 3)
        if not target.startswith(b"/"):
            target, host = _other_form(method, target, host, old=old)
        if old:
            if fields.chunked:
                raise ProxyError(400, "Transfer-Encoding needs HTTP/1.1")
            return RequestHead(data[:size], method, target, 0, host or b"", fields)
        if host is not None:
            return RequestHead(data[:size], method, target, 1, host, fields)
    raise ProxyError(400, "an HTTP/1.1 request needs exactly one Host field")


def parse_response(data: bytes, memo: ResponseHead | None = None) -> ResponseHead | None:
    """Reads a response head from the start of `data`; None if it is not complete yet. Raises 502."""
    if memo is not None and data.startswith(memo.raw):
        return memo
    line = _STATUS_LINE(data)
    if line is None:
        if b"\n" in data or len(data) > RESPONSE_HEAD_BYTES or not data.startswith(b"HTTP/1."[: len(data)]):
            raise bad_response("its status line is malformed")
        return None
    start = line.end()
    end = data.find(b"\r\n\r\n", start - 2)
    if end < 0:
        if len(data) > RESPONSE_HEAD_BYTES:
            raise bad_response("its head is too long")
        if data.count(b"\n") != data.count(b"\r\n"):
            raise bad_response("its head has a bare LF")
        return None
    if end + 4 > RESPONSE_HEAD_BYTES:
        raise bad_response("its head is too long")
    block = data[start : end + 2]
    minor = 0 if line[1] == b"0" else 1  # RFC 9110 section 2.5: a later one is read as the last that we know
    status = int(line[2])
    bodiless = status < 200 or status == 204
    if memo is not None and memo.fields.raw == block and memo.fields.bodiless == bodiless:
        fields = memo.fields
    else:
        fields = response_fields(block, bodiless=bodiless)
    if fields.chunked and minor == 0:
        raise bad_response("it is HTTP/1.0 with Transfer-Encoding")
    return ResponseHead(data[: end + 4], status, minor, fields, start)


def skip_empty_line(data: bytes) -> bytes:
    """RFC 9112 section 2.2: one CRLF in front of a request line is ignored."""
    return data[2:] if data.startswith(b"\r\n") else data


# Private


def _check_request_line(data: bytes, limits: HeadLimits) -> None:
    """Says what is wrong with a start line that does not match, or nothing if it may still come."""
    line, newline, _ = data.partition(b"\n")
    if b"\0" in line or line.startswith(b"\x16"):
        raise ProxyError(400, "this is not HTTP")
    if len(line) > limits.request_line_bytes:
        raise ProxyError(414, "the request line is too long")
    if not newline:
        return
    if data.startswith(b"CONNECT "):
        raise ProxyError(501, "CONNECT is not supported")
    if _OTHER_VERSION(data):
        raise ProxyError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    raise ProxyError(400, "the request line is malformed")


def _check_partial_block(data: bytes, start: int, limits: HeadLimits) -> None:
    if len(data) - start > limits.header_block_bytes + 1:  # the CR of the empty line is not the block's
        raise ProxyError(431, "the header fields are too large")
    if data.count(b"\n", start) > limits.header_count:
        raise ProxyError(431, "there are too many header fields")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise ProxyError(400, "a line of the head ends with a bare LF")


def _other_form(method: bytes, target: bytes, host: bytes | None, *, old: bool) -> tuple[bytes, bytes | None]:
    """RFC 9112 section 3.2: absolute form is rewritten, asterisk form is for OPTIONS, authority refused."""
    if target == b"*" and method == b"OPTIONS":
        return target, host
    absolute = _ABSOLUTE(target)
    authority = absolute[1].lower() if absolute else b""
    if absolute is None or not authority or is_host(authority) is None:
        raise ProxyError(400, "the request target is malformed")
    # Section 3.2.4: without a path, OPTIONS asks about the server as a whole.
    path = absolute[2] or (b"*" if method == b"OPTIONS" else b"/")
    if path.startswith(b"?"):
        path = b"/" + path
    # Section 3.2.2: the authority of the target replaces the Host field, which HTTP/1.1 must still send.
    return path, authority if host is not None or old else None
