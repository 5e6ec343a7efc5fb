"""One header block: validated, and what it means to a proxy (RFC 9110 section 7.6.1, RFC 9112 sections 5 and 6).

A block is refused unless it can be read in exactly one way. What a client claims about itself (X-Forwarded-*,
Forwarded, X-Request-Id) is read here and taken out of what goes on: whether any of it is believed is not for
this file to say.
"""

from __future__ import annotations

import re
from typing import Final

from bgproxy.errors import ProxyError
from bgproxy.http1.limits import HOST_BYTES
from bgproxy.model import HeadLimits

DEFAULT_LIMITS: Final = HeadLimits()

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"

# The group is not repeated possessively, see http1.framing.
_FIELD_BLOCK: Final = re.compile(rb"(?:" + TOKEN + rb":" + VALUE + rb"\r\n)*").fullmatch

# The fields that change what a proxy does. The leading newline is a literal prefix, which makes the
# search a memchr instead of a try at every byte. To an application behind CGI or WSGI an underscore in a
# name is a dash, so whoever may not say X-Forwarded-For may not say X_Forwarded_For either.
_REQUEST_SPECIAL: Final = re.compile(
    rb"\n(host|con(?:nection|tent[-_]length)|t(?:e|raceparent|ransfer[-_]encoding)|expect|forwarded|keep-alive"
    rb"|proxy-connection|upgrade|via|x[-_](?:forwarded[-_](?:for|host|port|proto)|request[-_]id|bgproxy[-_]mirror))"
    rb":[ \t]*+([^\r]*)\r"
).finditer
_RESPONSE_SPECIAL: Final = re.compile(
    rb"\n(con(?:nection|tent-length)|keep-alive|proxy-connection|transfer-encoding|upgrade):[ \t]*+([^\r]*)\r"
).finditer
# RFC 9110 section 7.6.1: what a Connection option must never remove, whatever it names: where a message
# ends, whose it is, and what is expected of those who pass it on. The rest are options without a field.
_NOT_REMOVABLE: Final = frozenset(
    [
        b"",
        *b"host content-length transfer-encoding expect via idempotency-key close keep-alive upgrade".split(
            b" "
        ),
    ]
)

# In place of a coding with space behind it, which the grammar allows: llhttp finds no chunked in "chunked\t".
_PLAIN_CODING: Final = b"Transfer-Encoding: chunked\r\n"

# What a client, or a proxy in front of us, may claim, and where it is kept.
_CLAIMS: Final = {
    b"forwarded": "forwarded",
    b"traceparent": "traceparent",
    b"via": "via",
    b"x-forwarded-for": "forwarded_for",
    b"x-forwarded-host": "forwarded_host",
    b"x-forwarded-port": "forwarded_port",
    b"x-forwarded-proto": "forwarded_proto",
    b"x-request-id": "request_id",
}
_PASSED_ON: Final = frozenset({b"traceparent", b"via"})

# Without percent-encoding, which no name of a host needs and the next parser may decode into another name.
is_host: Final = re.compile(
    rb"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9._~!$&'()*+,;=-]{0,%d})(?::[0-9]{0,5})?" % HOST_BYTES
).fullmatch
_LENGTH: Final = re.compile(rb"[0-9]{1,18}").fullmatch
_BODY_LINES: Final = re.compile(rb"(?im)^(?:content-length|transfer-encoding):[^\n]*\n").sub
_KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"(?:^|[,; \t])timeout=([0-9]{1,9})(?:$|[,; \t])").search


class Fields:
    """The meaning of one header block. Immutable once built, so that it can be shared as a memo.

    `raw` is the block as received, each line with its CRLF. `forward` is what goes on to the other
    side: the same lines in the same order, without the hop-by-hop ones (RFC 9110 section 7.6.1) and, in
    a request, without what a client claims about itself.
    """

    __slots__ = (
        "_lower",
        "bodiless",
        "chunked",
        "claims",
        "close",
        "content_length",
        "forward",
        "forwarded",
        "forwarded_for",
        "forwarded_host",
        "forwarded_port",
        "forwarded_proto",
        "held",
        "host",
        "keep_alive",
        "keep_alive_s",
        "raw",
        "request_id",
        "traceparent",
        "upgrade",
        "via",
    )

    raw: bytes
    forward: bytes
    _lower: bytes  # empty until it is asked for
    content_length: int | None
    chunked: bool
    close: bool  # Connection: close
    keep_alive: bool  # Connection: keep-alive, which matters to HTTP/1.0 only
    upgrade: bytes | None  # the protocol asked for or agreed on, if Connection nominated Upgrade

    # of a response
    bodiless: bool  # its status means that there is no body, whatever it says
    keep_alive_s: int | None  # for how long the upstream says that it keeps the connection

    # of a request: as sent, except that several fields of one name are joined by commas
    held: tuple[bytes, tuple[int, bool] | None] | None  # `routing.split`'s own: what it has read, for whom
    host: bytes | None  # lower case, with the port if there was one
    claims: bool  # whether there is any of what follows
    via: bytes | None  # is in `forward`, too
    traceparent: bytes | None  # likewise
    request_id: bytes | None  # X-Request-Id; these are in `forward` no longer
    forwarded: bytes | None
    forwarded_for: bytes | None  # X-Forwarded-For, and so on
    forwarded_host: bytes | None
    forwarded_port: bytes | None
    forwarded_proto: bytes | None

    @property
    def lower(self) -> bytes:
        """The block in lower case behind a newline, for look-ups of further fields."""
        if not self._lower:
            self._lower = b"\n" + self.raw.lower()
        return self._lower

    def is_plain(self) -> bool:
        """True of a request's if its host, its framing and whether its client keeps the connection is all there is."""
        return not self.claims and self.upgrade is None

    def alike(self, raw: bytes, forward: bytes) -> Fields:
        """Those of a block that differs in nothing that matters to a proxy, if these are plain."""
        fields = _empty(raw)
        fields.forward = forward
        fields.host = self.host
        fields.content_length = self.content_length
        fields.chunked = self.chunked
        fields.close = self.close
        fields.keep_alive = self.keep_alive
        return fields

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field of that (lower-case) name, as it was sent."""
        start = self.lower.find(b"\n" + name + b":")
        if start < 0:
            return None
        begin = start + len(name) + 1  # in `raw`, which lacks the newline that `lower` begins with
        return self.raw[begin : self.raw.find(b"\r", begin)].strip(b" \t")


def request_fields(block: bytes, limits: HeadLimits = DEFAULT_LIMITS) -> Fields:
    """Validates a request's header block and finds the fields that matter to a proxy."""
    if len(block) > limits.header_block_bytes:
        raise ProxyError(431, "the header fields are too large")
    if (
        len(block) > limits.header_count and block.count(b"\n") > limits.header_count
    ):  # nobody has more lines than bytes
        raise ProxyError(431, "there are too many header fields")
    if _FIELD_BLOCK(block) is None:
        raise ProxyError(400, "a header field is malformed")
    fields = _empty(block)
    fields._lower = lower = b"\n" + block.lower()
    removed: list[tuple[int, int]] = []
    nominated: list[bytes] = []
    upgrade: bytes | None = None
    plain_coding = False
    for special in _REQUEST_SPECIAL(lower):
        name = special[1]
        value = special[2].rstrip(b" \t")
        if name == b"host":
            if fields.host is not None or is_host(value) is None:
                raise ProxyError(400, "an HTTP/1.1 request needs exactly one valid Host field")
            fields.host = value
            continue
        if name == b"content-length":
            _content_length(fields, value)
            continue
        if name == b"connection":
            nominated += _connection(fields, value)
        elif name in _CLAIMS:
            start, end = special.span(2)
            slot = _CLAIMS[name]
            value = block[start - 1 : end - 1].rstrip(b" \t")  # as sent; `lower` is one byte longer in front
            before = getattr(fields, slot)
            setattr(fields, slot, value if before is None else before + b", " + value)
            fields.claims = True
            if name in _PASSED_ON:
                continue
        elif name == b"transfer-encoding":
            _transfer_encoding(fields, value)
            start, end = special.span(2)
            if block[start - 1 : end - 1] == b"chunked":
                continue
            plain_coding = True
        elif name == b"expect":
            if value != b"100-continue":
                raise ProxyError(417, "only Expect: 100-continue is supported")
            continue
        elif name == b"upgrade":
            upgrade = value if upgrade is None else upgrade + b", " + value
        removed.append((special.start(), special.end()))
    if fields.chunked and fields.content_length is not None:
        raise ProxyError(400, "Content-Length and Transfer-Encoding exclude each other")
    # HTTP/2 behind an upgrade would be requests that nobody here routes, splits or counts. And with a body,
    # parsers disagree whether the body or the other protocol comes next; RFC 9110 section 7.8 lets us ignore it.
    body = fields.chunked or fields.content_length
    if upgrade and not body and b"upgrade" in nominated and b"h2c" not in upgrade:
        fields.upgrade = upgrade
    fields.forward = _forward(block, removed, nominated)
    if plain_coding:
        fields.forward += _PLAIN_CODING
    return fields


def response_fields(block: bytes, *, bodiless: bool = False) -> Fields:
    """Validates a response's header block and finds the fields that matter to a proxy.

    `bodiless` is whether its status, 1xx or 204, means that there is no body.
    """
    if _FIELD_BLOCK(block) is None:
        raise bad_response("a header field is malformed")
    fields = _empty(block)
    fields._lower = lower = b"\n" + block.lower()
    removed: list[tuple[int, int]] = []
    nominated: list[bytes] = []
    upgrade: bytes | None = None
    plain_coding = False
    try:
        for special in _RESPONSE_SPECIAL(lower):
            name = special[1]
            value = special[2].rstrip(b" \t")
            if name == b"content-length":
                _content_length(fields, value)
                continue
            if name == b"transfer-encoding":
                _transfer_encoding(fields, value)
                start, end = special.span(2)
                if block[start - 1 : end - 1] == b"chunked":
                    continue
                plain_coding = True
            elif name == b"connection":
                nominated += _connection(fields, value)
            elif name == b"upgrade":
                upgrade = value if upgrade is None else upgrade + b", " + value
            elif name == b"keep-alive":
                timeout = _KEEP_ALIVE_TIMEOUT(value)
                if timeout is not None:
                    fields.keep_alive_s = int(timeout[1])
            removed.append((special.start(), special.end()))
    except ProxyError as error:
        raise bad_response(error.reason) from error
    if fields.chunked and fields.content_length is not None:
        raise bad_response("it has both Content-Length and Transfer-Encoding")
    if upgrade and b"upgrade" in nominated:
        fields.upgrade = upgrade
    fields.forward = _forward(block, removed, nominated)
    if plain_coding:
        fields.forward += _PLAIN_CODING
    if bodiless:
        # RFC 9110 section 8.6, RFC 9112 section 6.1: must not be there, and some parsers wait for the body.
        fields.bodiless = True
        fields.forward = _BODY_LINES(b"", fields.forward)
    return fields


def bad_response(what: str) -> ProxyError:
    return ProxyError(502, f"the upstream's response cannot be trusted: {what}")


# Private


def _empty(block: bytes) -> Fields:
    fields = Fields()
    fields.raw = block
    fields._lower = b""
    fields.held = None
    fields.host = None
    fields.claims = False
    fields.content_length = None
    fields.chunked = False
    fields.close = False
    fields.keep_alive = False
    fields.upgrade = None
    fields.bodiless = False
    fields.keep_alive_s = None
    fields.via = None
    fields.traceparent = None
    fields.request_id = None
    fields.forwarded = None
    fields.forwarded_for = None
    fields.forwarded_host = None
    fields.forwarded_port = None
    fields.forwarded_proto = None
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
    if value == b"keep-alive":  # what most clients say
        fields.keep_alive = True
        return []
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
    if not nominated:
        return block
    names = set(nominated) - _NOT_REMOVABLE
    if names:
        lines = block.split(b"\r\n")
        block = b"\r\n".join(line for line in lines if line.split(b":", 1)[0].lower() not in names)
    return block
