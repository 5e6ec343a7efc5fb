"""Request and response heads: bytes in, validated values out, or a `ProxyError`.

A head is refused unless it can be read in exactly one way (RFC 9112 sections 2.2, 3, 5, 6 and 11.2),
because whatever this file lets through is forwarded and read again by somebody else's parser.

Peers repeat themselves on a kept-alive connection, so the last head may be passed in again as a memo. The
same bytes mean the same: a repeated head costs one comparison, and a repeated header block behind another
start line (most clients' next request) costs the start line and one comparison.
"""

from __future__ import annotations

import re
from typing import Final

from bgproxy.errors import ProxyError
from bgproxy.http1 import limits

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"

# A target has no fragment, and a tunnel is no message to relay, whatever its target looks like.
_METHOD: Final = rb"(?!CONNECT )(" + TOKEN + rb") "
_USUAL_LINE = re.compile(_METHOD + rb"(/[\x21\x22\x24-\x7e]*+) HTTP/1\.1\r\n").match
_REQUEST_LINE = re.compile(_METHOD + rb"([\x21\x22\x24-\x7e]++) HTTP/1\.[0-9]\r\n").match
_OTHER_VERSION = re.compile(rb"[^\r\n]+ HTTP/(?!1\.)[0-9]+(\.[0-9]+)?\r\n").match
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: " + _VALUE + rb")?\r\n").match
# The group is not repeated possessively, see http1.framing.
_FIELD_BLOCK = re.compile(rb"(?:" + TOKEN + rb":" + _VALUE + rb"\r\n)*").fullmatch

# The fields that change what a proxy does. The leading newline is a literal prefix, which makes the
# search a memchr instead of a try at every byte.
_REQUEST_SPECIAL = re.compile(
    rb"\n(connection|content-length|expect|host|keep-alive|proxy-connection|te|transfer-encoding|upgrade"
    rb"|x-forwarded-for|x-forwarded-proto):[ \t]*+([^\r]*)\r"
).finditer
_RESPONSE_SPECIAL = re.compile(
    rb"\n(connection|content-length|keep-alive|proxy-connection|transfer-encoding|upgrade):[ \t]*+([^\r]*)\r"
).finditer
# RFC 9110 section 7.6.1: what a Connection option must never remove, whatever it names.
_NOT_REMOVABLE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"close", b"keep-alive"})

_HOST = re.compile(
    rb"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9._~!$&'()*+,;=%%-]{0,%d})(?::[0-9]{0,5})?" % limits.HOST_BYTES
).fullmatch
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)([/?].*)?").fullmatch
_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch


class Fields:
    """The meaning of one header block. Immutable once built, so that it can be shared as a memo.

    `raw` is the block as received, each line with its CRLF. `forward` is what goes on to the other
    side: the same lines in the same order, without the hop-by-hop ones (RFC 9110 section 7.6.1).
    `lower` is the block in lower case behind a newline, for look-ups of further fields.
    """

    __slots__ = (
        "chunked",
        "close",
        "content_length",
        "forward",
        "forwarded_for",
        "host",
        "keep_alive",
        "lower",
        "raw",
        "upgrade",
    )

    raw: bytes
    lower: bytes
    forward: bytes
    host: bytes | None  # lower case, as sent, with the port if there was one
    content_length: int | None
    chunked: bool
    close: bool  # Connection: close
    keep_alive: bool  # Connection: keep-alive, which matters to HTTP/1.0 only
    upgrade: bytes | None  # the protocol asked for or agreed on, if Connection nominated Upgrade
    forwarded_for: bytes | None

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field of that (lower-case) name, as it was sent."""
        start = self.lower.find(b"\n" + name + b":")
        if start < 0:
            return None
        begin = start + len(name) + 1  # in `raw`, which lacks the newline that `lower` begins with
        return self.raw[begin : self.raw.find(b"\r", begin)].strip(b" \t")


class RequestHead:
    """One request's head. Immutable, as `Fields` is.

    `raw` is the whole head as received and `size` its length; `target` is in origin or asterisk form.
    `keeps` is whether the client wants to keep the connection, `plain` whether, besides, it speaks HTTP/1.1
    and takes a response body, so that most responses can be passed on to it as they are.
    """

    __slots__ = ("fields", "host", "keeps", "method", "minor", "plain", "raw", "size", "target")

    def __init__(
        self, raw: bytes, method: bytes, target: bytes, minor: int, host: bytes, fields: Fields
    ) -> None:
        self.raw = raw
        self.size = len(raw)
        self.method = method
        self.target = target
        self.minor = minor
        self.host = host
        self.fields = fields
        self.keeps = not fields.close and (minor == 1 or fields.keep_alive)
        self.plain = self.keeps and minor == 1 and method != b"HEAD"


class ResponseHead:
    """One response's head. Immutable, as `Fields` is.

    `raw` is the whole head as received, `line` the part of its status line behind the version. `plain` is
    the head as a `RequestHead.plain` client gets it, if the body is `length` bytes long (0 or more) and the
    upstream keeps the connection; `length` is -1 if any of this is not so.
    """

    __slots__ = ("fields", "length", "line", "minor", "plain", "raw", "size", "status")

    def __init__(self, raw: bytes, status: int, minor: int, fields: Fields, line_size: int) -> None:
        self.raw = raw
        self.size = len(raw)
        self.status = status
        self.minor = minor
        self.fields = fields
        self.line = raw[8:line_size]
        self.length = -1
        self.plain = raw
        if minor == 1 and status >= 200 and status not in (204, 304) and not fields.close:
            if fields.content_length is not None:
                self.length = fields.content_length
            if fields.forward is not fields.raw:
                self.plain = b"HTTP/1.1" + self.line + fields.forward + b"\r\n"


def parse_request(data: bytes, memo: RequestHead | None = None) -> RequestHead | None:
    """Reads a request head from the start of `data`; None if it is not complete yet.

    `memo` is any head that was read before, best the last one of the same client.
    Raises `ProxyError` with 400, 414, 417, 431, 501 or 505. Callers skip one leading CRLF (RFC 9112
    section 2.2) with `skip_empty_line` before they count anything as the beginning of a request.
    """
    if memo is not None and data.startswith(memo.raw):
        return memo
    usual = line = _USUAL_LINE(data)
    if line is None:
        line = _REQUEST_LINE(data)
        if line is None:
            _check_request_line(data)
            return None
    start = line.end()
    if start > limits.REQUEST_LINE_BYTES:
        raise ProxyError(414, "the request line is too long")
    end = data.find(b"\r\n\r\n", start - 2)
    if end < 0:
        _check_partial_block(data, start)
        return None
    block = data[start : end + 2]
    fields = memo.fields if memo is not None and memo.fields.raw == block else request_fields(block)
    method, target = line.groups()
    host = fields.host
    if usual is None:
        old = data.startswith(b"0", start - 3)
        if not target.startswith(b"/"):
            target, host = _other_form(method, target, host, old=old)
        if old:
            if fields.chunked:
                raise ProxyError(400, "Transfer-Encoding needs HTTP/1.1")
            return RequestHead(data[: end + 4], method, target, 0, host or b"", fields)
    if host is None:
        raise ProxyError(400, "an HTTP/1.1 request needs exactly one Host field")
    return RequestHead(data[: end + 4], method, target, 1, host, fields)


def parse_response(data: bytes, memo: ResponseHead | None = None) -> ResponseHead | None:
    """Reads a response head from the start of `data`; None if it is not complete yet. Raises 502."""
    if memo is not None and data.startswith(memo.raw):
        return memo
    line = _STATUS_LINE(data)
    if line is None:
        if b"\n" in data or len(data) > limits.RESPONSE_HEAD_BYTES:
            raise _bad_response("its status line is malformed")
        return None
    start = line.end()
    end = data.find(b"\r\n\r\n", start - 2)
    if end < 0:
        if len(data) > limits.RESPONSE_HEAD_BYTES:
            raise _bad_response("its head is too long")
        if data.count(b"\n") != data.count(b"\r\n"):
            raise _bad_response("its head has a bare LF")
        return None
    if end + 4 > limits.RESPONSE_HEAD_BYTES:
        raise _bad_response("its head is too long")
    block = data[start : end + 2]
    fields = memo.fields if memo is not None and memo.fields.raw == block else response_fields(block)
    minor, status = line.groups()
    if fields.chunked and minor == b"0":
        raise _bad_response("it is HTTP/1.0 with Transfer-Encoding")
    return ResponseHead(data[: end + 4], int(status), int(minor), fields, start)


def skip_empty_line(data: bytes) -> bytes:
    """RFC 9112 section 2.2: one CRLF in front of a request line is ignored."""
    return data[2:] if data.startswith(b"\r\n") else data


def request_fields(block: bytes) -> Fields:
    """Validates a request's header block and finds the fields that matter to a proxy."""
    if len(block) > limits.HEADER_BLOCK_BYTES:
        raise ProxyError(431, "the header fields are too large")
    if block.count(b"\n") > limits.HEADER_COUNT:
        raise ProxyError(431, "there are too many header fields")
    if _FIELD_BLOCK(block) is None:
        raise ProxyError(400, "a header field is malformed")
    fields = _empty(block)
    removed: list[tuple[int, int]] = []
    nominated: list[bytes] = []
    upgrade: bytes | None = None
    for special in _REQUEST_SPECIAL(fields.lower):
        name = special[1]
        value = special[2].rstrip(b" \t")
        if name == b"host":
            if fields.host is not None or _HOST(value) is None:
                raise ProxyError(400, "an HTTP/1.1 request needs exactly one valid Host field")
            fields.host = value
            continue
        if name == b"content-length":
            _content_length(fields, value)
            continue
        if name == b"transfer-encoding":
            _transfer_encoding(fields, value)
            continue
        if name == b"expect":
            if value != b"100-continue":
                raise ProxyError(417, "only Expect: 100-continue is supported")
            continue
        if name == b"connection":
            nominated += _connection(fields, value)
        elif name == b"upgrade":
            upgrade = value
        elif name == b"x-forwarded-for":
            first = fields.forwarded_for
            fields.forwarded_for = value if first is None else first + b", " + value
        removed.append((special.start(), special.end()))
    if fields.chunked and fields.content_length is not None:
        raise ProxyError(400, "Content-Length and Transfer-Encoding exclude each other")
    # HTTP/2 behind an upgrade would be requests that nobody here routes, splits or counts.
    if upgrade and b"upgrade" in nominated and b"h2c" not in upgrade:
        fields.upgrade = upgrade
    fields.forward = _forward(block, removed, nominated)
    return fields


def response_fields(block: bytes) -> Fields:
    """Validates a response's header block and finds the fields that matter to a proxy."""
    if _FIELD_BLOCK(block) is None:
        raise _bad_response("a header field is malformed")
    fields = _empty(block)
    removed: list[tuple[int, int]] = []
    nominated: list[bytes] = []
    upgrade: bytes | None = None
    try:
        for special in _RESPONSE_SPECIAL(fields.lower):
            name = special[1]
            value = special[2].rstrip(b" \t")
            if name == b"content-length":
                _content_length(fields, value)
                continue
            if name == b"transfer-encoding":
                _transfer_encoding(fields, value)
                continue
            if name == b"connection":
                nominated += _connection(fields, value)
            elif name == b"upgrade":
                upgrade = value
            removed.append((special.start(), special.end()))
    except ProxyError as error:
        raise _bad_response(error.reason) from error
    if fields.chunked and fields.content_length is not None:
        raise _bad_response("it has both Content-Length and Transfer-Encoding")
    if upgrade and b"upgrade" in nominated:
        fields.upgrade = upgrade
    fields.forward = _forward(block, removed, nominated)
    return fields


# Private


def _empty(block: bytes) -> Fields:
    fields = Fields()
    fields.raw = block
    fields.lower = b"\n" + block.lower()
    fields.host = None
    fields.content_length = None
    fields.chunked = False
    fields.close = False
    fields.keep_alive = False
    fields.upgrade = None
    fields.forwarded_for = None
    return fields


def _content_length(fields: Fields, value: bytes) -> None:
    # RFC 9112 section 6.3: a list of equal values may be accepted; refusing it is never ambiguous.
    if fields.content_length is not None or _LENGTH(value) is None:
        raise ProxyError(400, "Content-Length is not one plain number")
    fields.content_length = int(value)


def _transfer_encoding(fields: Fields, value: bytes) -> None:
    if fields.chunked:
        raise ProxyError(400, "Transfer-Encoding is given twice")
    if value != b"chunked":
        # RFC 9112 section 6.1: a coding that is not understood is answered with 501.
        raise ProxyError(501, "the only transfer coding supported is chunked")
    fields.chunked = True


def _connection(fields: Fields, value: bytes) -> list[bytes]:
    options = [option.strip(b" \t") for option in value.split(b",")]
    if b"close" in options:
        fields.close = True
    if b"keep-alive" in options:
        fields.keep_alive = True
    return options


def _forward(block: bytes, removed: list[tuple[int, int]], nominated: list[bytes]) -> bytes:
    if removed:
        # Offsets are those of `lower`, which has one newline in front: a match begins at the newline
        # that ends the line before (so at the block's own first byte of the line, minus one) and ends
        # behind its CR.
        pieces: list[bytes] = []
        position = 0
        for start, end in removed:
            pieces.append(block[position:start])
            position = end
        pieces.append(block[position:])
        block = b"".join(pieces)
    names = {name for name in nominated if name and name not in _NOT_REMOVABLE and name != b"upgrade"}
    if names:
        lines = block.split(b"\r\n")
        block = b"\r\n".join(line for line in lines if line.split(b":", 1)[0].lower() not in names)
    return block


def _check_request_line(data: bytes) -> None:
    """Says what is wrong with a start line that does not match, or nothing if it may still come."""
    line, newline, _ = data.partition(b"\n")
    if b"\0" in line or line.startswith(b"\x16"):
        raise ProxyError(400, "this is not HTTP")
    if len(line) > limits.REQUEST_LINE_BYTES:
        raise ProxyError(414, "the request line is too long")
    if not newline:
        return
    if data.startswith(b"CONNECT "):
        raise ProxyError(501, "CONNECT is not supported")
    if _OTHER_VERSION(data):
        raise ProxyError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    raise ProxyError(400, "the request line is malformed")


def _check_partial_block(data: bytes, start: int) -> None:
    if len(data) - start > limits.HEADER_BLOCK_BYTES + 1:  # the CR of the empty line is not the block's
        raise ProxyError(431, "the header fields are too large")
    if data.count(b"\n", start) > limits.HEADER_COUNT:
        raise ProxyError(431, "there are too many header fields")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise ProxyError(400, "a line of the head ends with a bare LF")


def _other_form(method: bytes, target: bytes, host: bytes | None, *, old: bool) -> tuple[bytes, bytes | None]:
    """RFC 9112 section 3.2: absolute form is rewritten, asterisk form is for OPTIONS, authority refused."""
    if target == b"*" and method == b"OPTIONS":
        return target, host
    absolute = _ABSOLUTE(target)
    authority = absolute[1].lower() if absolute else b""
    if absolute is None or not authority or _HOST(authority) is None:
        raise ProxyError(400, "the request target is malformed")
    # Section 3.2.4: without a path, OPTIONS asks about the server as a whole.
    path = absolute[2] or (b"*" if method == b"OPTIONS" else b"/")
    if path.startswith(b"?"):
        path = b"/" + path
    # Section 3.2.2: the authority of the target replaces the Host field, which HTTP/1.1 must still send.
    return path, authority if host is not None or old else None


def _bad_response(what: str) -> ProxyError:
    return ProxyError(502, f"the upstream's response cannot be trusted: {what}")
