"""The property, for requests, responses and chunked bodies; an `AssertionError` is a finding.

Any bytes are parsed or refused, alike however they are cut, and whatever is forwarded re-parses, by llhttp and by
h11, to the same single message with the same framing. Each function says what became of its bytes, so that a run
which refuses everything cannot pass for a good one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final
from zlib import crc32

from bgproxy.errors import ProxyError
from bgproxy.http1 import forwarding
from bgproxy.http1.framing import CHUNKED, NONE, UNTIL_CLOSE, ChunkedScanner, request_body, response_body
from bgproxy.http1.head import RequestHead, ResponseHead, parse_request, parse_response
from bgproxy.http1.remembered import RequestHeads
from bgproxy.http1.rewrite import Coding, request_head, response_head
from bgproxy.model import Forwarding, HeadLimits
from fuzz import judges
from fuzz.judges import Disagreement, Message

REFUSED: Final = "refused"
INCOMPLETE: Final = "incomplete"
FORWARDED: Final = "forwarded"
OUTCOMES: Final = (REFUSED, INCOMPLETE, FORWARDED)

REQUEST_REFUSALS: Final = frozenset({400, 414, 417, 431, 501, 505})
_CLIENTS: Final = tuple(forwarding.Client(b"192.0.2.1", b"http", b"80", trusted) for trusted in (False, True))
_FORWARDING: Final = Forwarding()
_MOST_BODY_BYTES: Final = 16 * 1024  # a longer body is announced, but not judged

# What earlier inputs have left behind must not show.
_HEADS: Final = RequestHeads(HeadLimits())
_MOST_PIECES: Final = 64

# What follows must be read as what follows.
_NEXT_REQUEST: Final = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"
_NEXT_REQUEST_READ: Final = Message((b"GET", b"/next"), ((b"host", b"next"),), b"")
_NEXT_RESPONSE: Final = b"HTTP/1.1 200 Next\r\nContent-Length: 0\r\n\r\n"
_NEXT_RESPONSE_READ: Final = Message((200,), ((b"content-length", b"0"),), b"")

Head = RequestHead | ResponseHead


def request(data: bytes) -> str:
    """A request, with what it has of a body behind it."""
    head = _parsed(parse_request, data, REQUEST_REFUSALS)
    other_cookie = data.replace(b"Cookie: ", b"Cookie: " + data[crc32(data) % (len(data) + 1) :][:8])
    for each in (data, other_cookie):
        _same(_outcome(_HEADS.read, each), _outcome(parse_request, each), "with what is remembered")
    if not isinstance(head, RequestHead):
        return INCOMPLETE if head is None else REFUSED
    other_line = b"PUT /other HTTP/1.0\r\n" + head.fields.raw + b"\r\n"
    _same(_outcome(parse_request, other_line, head), _outcome(parse_request, other_line), "with a memo")
    client = _CLIENTS[crc32(data) % 2]
    out = (
        request_head(head, forwarding.lines(head.fields, head.host, head.minor, client, _FORWARDING))
        + b"\r\n"
    )
    framing = request_body(head.fields)
    again = parse_request(out)
    if (
        again is None
        or (again.method, again.target, again.host, again.size)
        != (head.method, head.target, head.host, len(out))
        or request_body(again.fields) != framing
    ):
        raise Disagreement(f"we forward {out!r} for {data!r}")
    if framing > _MOST_BODY_BYTES:
        return FORWARDED
    body, content = _body(framing, data[head.size :], 400, decode=False)
    fields = _fields(out)
    for judge in (judges.llhttp_requests, judges.h11_requests):
        method, sent = head.method, out
        if judge is judges.llhttp_requests and method not in judges.METHODS:
            method, sent = b"POST", b"POST" + out[len(method) :]
        read = judge(sent + body + _NEXT_REQUEST)
        if [_plain(message) for message in read] != [
            Message((method, head.target), fields, content),
            _NEXT_REQUEST_READ,
        ]:
            raise Disagreement(f"{judge.__name__} reads {read} in {sent + body!r}, made of {data!r}")
    return FORWARDED


def response(data: bytes) -> str:
    """A response, with what it has of a body behind it, to a request that follows from the bytes."""
    head = _parsed(parse_response, data, frozenset({502}))
    if not isinstance(head, ResponseHead):
        return INCOMPLETE if head is None else REFUSED
    for other_line in (b"HTTP/1.1 204 No\r\n", b"HTTP/1.0 200 OK\r\n"):
        other = other_line + head.fields.raw + b"\r\n"
        _same(_outcome(parse_response, other, head), _outcome(parse_response, other), "with a memo")
    kind = crc32(data)
    method = b"HEAD" if kind % 8 == 0 else b"GET"
    minor = int(kind % 3 != 0)  # of the client's version
    if head.status < 200:
        return _informational(head)
    framing = response_body(method, head.status, head.fields)
    keep, coding = True, Coding.AS_IS
    if head.fields.chunked and (not minor or head.status == 204):
        coding = Coding.REMOVED
    if framing == UNTIL_CLOSE:
        keep = bool(minor)
        coding = Coding.ADDED if minor else coding
    elif framing == CHUNKED and not minor:
        keep = False
    out = response_head(head, connection=b"" if keep else b"close", coding=coding)
    again = parse_response(out)
    if again is None or (again.status, again.size, again.fields.close) != (head.status, len(out), not keep):
        raise Disagreement(f"we forward {out!r} for {data!r}")
    if head.length >= 0 and head.plain != response_head(head):
        raise Disagreement(f"we forward {head.plain!r} for {data!r}")
    if framing > _MOST_BODY_BYTES:
        return FORWARDED
    if head.status == 204 and _frames(out):
        raise Disagreement(f"{out!r} announces a body that cannot come")
    body, content = _body(framing, data[head.size :], 502, decode=not minor)
    if framing == UNTIL_CLOSE and minor:
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    expected = Message((head.status,), _fields(out), content)
    follows, follows_read = (_NEXT_RESPONSE, [_NEXT_RESPONSE_READ]) if keep else (b"", [])
    read, rest = judges.h11_response(method, out + body + follows)
    if (_plain(read), rest) != (expected, follows):
        raise Disagreement(f"h11 reads {read} in {out + body!r}, made of {data!r}")
    if method != b"HEAD":  # of which llhttp could not know
        both = [_plain(message) for message in judges.llhttp_responses(out + body + follows)]
        if both != [expected, *follows_read]:
            raise Disagreement(f"llhttp reads {both} in {out + body!r}, made of {data!r}")
    return FORWARDED


def chunked(data: bytes) -> str:
    """A chunked body, with what is behind it."""
    whole, decoded = _scan([data], decode=False), _scan([data], decode=True)
    cut = crc32(data) % (len(data) + 1)
    step = len(data) // _MOST_PIECES + 1  # 1: byte by byte
    small_pieces = [data[i : i + step] for i in range(0, len(data), step)]
    halves = [data[:cut], data[cut:]]
    if _scan(halves, decode=False) != whole or _scan(halves, decode=True) != decoded:
        raise Disagreement(f"{data!r} means something else when it is cut at {cut}")
    if _scan(small_pieces, decode=False) != whole:
        raise Disagreement(f"{data!r} means something else in pieces of {step}")
    if isinstance(whole, int) or isinstance(decoded, int):
        if whole != decoded:
            raise Disagreement(f"{data!r} is refused or not, depending on the coding")
        return REFUSED
    (out, rest, done), (content, _, _) = whole, decoded
    if not data.endswith(rest):
        raise Disagreement(f"{rest!r} is not what follows the body in {data!r}")
    if not done:
        return INCOMPLETE
    if _scan([out], decode=False) != (out, b"", True) or _scan([out], decode=True) != (content, b"", True):
        raise Disagreement(f"we forward {out!r} for {data!r}")
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    expected_messages = [Message((b"POST", b"/"), _fields(head), content), _NEXT_REQUEST_READ]
    for judge in (judges.llhttp_requests, judges.h11_requests):
        read = judge(head + out + _NEXT_REQUEST)
        if read != expected_messages:
            raise Disagreement(f"{judge.__name__} reads {read} in {out!r}, made of {data!r}")
    return FORWARDED


# Private


def _parsed(parse: Callable[..., Head | None], data: bytes, refusals: frozenset[int]) -> Head | int | None:
    """The head in `data`, or the status of a refusal: the same for a part of it, behind more, and with memos."""
    whole = _outcome(parse, data)
    if isinstance(whole, int) and whole not in refusals:
        raise Disagreement(f"{whole} is no answer to {data!r}")
    early = _outcome(parse, data[: crc32(data) % (len(data) + 1)])
    if early is not None:
        _same(early, whole, "cut")
    if whole is not None:
        _same(_outcome(parse, data + _NEXT_REQUEST), whole, "with trailing bytes")
    if isinstance(whole, RequestHead | ResponseHead):
        end = whole.size
        if data[:end].count(b"\n") != data[:end].count(b"\r\n") or parse(data, whole) is not whole:
            raise Disagreement(f"{data[:end]!r} is taken for a head")
    return whole


def _outcome(parse: Callable[..., Head | None], data: bytes, memo: Head | None = None) -> Head | int | None:
    try:
        return parse(data, memo)
    except ProxyError as error:
        return error.status


def _same(one: Head | int | None, other: Head | int | None, how: str) -> None:
    if isinstance(one, RequestHead | ResponseHead) and isinstance(other, RequestHead | ResponseHead):
        if _meaning(one) != _meaning(other):
            raise Disagreement(f"{one.raw!r} means something else {how}")
    elif not (isinstance(one, int) and isinstance(other, int)) and one is not other:
        # (What has several faults is refused for the first one that is seen.)
        raise Disagreement(f"{one} instead of {other} {how}")


def _meaning(head: Head) -> list[Any]:
    return [getattr(head, name) for name in attributes(head) if name != "fields"] + [
        getattr(head.fields, name) for name in attributes(head.fields)
    ]


def attributes(thing: object) -> list[str]:
    """What can be read of a thing whose class has slots, or is compiled, but for what it keeps to itself."""
    kinds = MemberDescriptorType | GetSetDescriptorType | property
    return [
        name
        for name, value in vars(type(thing)).items()
        if isinstance(value, kinds) and not name.startswith("_")
    ]


def _informational(head: ResponseHead) -> str:
    """A 1xx has no body, whatever it says: the final response follows at once."""
    if head.status == 101:
        return FORWARDED  # what follows is no HTTP
    out = response_head(head, coding=Coding.REMOVED)
    if _frames(out):
        raise Disagreement(f"{out!r} announces a body that cannot come")
    if judges.h11_response(b"GET", out + _NEXT_RESPONSE) != (_NEXT_RESPONSE_READ, b""):
        raise Disagreement(f"h11 reads no final response behind {out!r}")
    if judges.llhttp_responses(out + _NEXT_RESPONSE) != [_NEXT_RESPONSE_READ]:
        raise Disagreement(f"llhttp reads no final response behind {out!r}")
    return FORWARDED


def _body(framing: int, rest: bytes, status: int, *, decode: bool) -> tuple[bytes, bytes]:
    """(what we forward, its content): from `rest` if it has a whole body, else one of that kind."""
    if framing == NONE:
        return b"", b""
    if framing == UNTIL_CLOSE:
        return rest, rest
    if framing != CHUNKED:
        body = rest[:framing].ljust(framing, b"x")
        return body, body
    for body in (rest, b"5\r\nhello\r\n0\r\n\r\n"):
        content = _scan([body], decode=True, status=status)
        if not isinstance(content, int) and content[2]:
            out = content if decode else _scan([body], decode=False, status=status)
            assert not isinstance(out, int)
            return out[0], content[0]
    raise AssertionError("a body that is whole is not taken for one")


def _scan(pieces: Iterable[bytes], *, decode: bool, status: int = 400) -> tuple[bytes, bytes, bool] | int:
    """(what is handed on, what follows, whether the body has ended), or the status of a refusal."""
    scanner = ChunkedScanner(status, decode=decode)
    handed_on: list[bytes] = []
    rest: list[bytes] = []
    try:
        for piece in pieces:
            if scanner.done:
                rest.append(piece)
            else:
                out, behind = scanner.feed(piece)
                handed_on.append(out)
                rest.append(behind)
    except ProxyError as error:
        return error.status
    return b"".join(handed_on), b"".join(rest), scanner.done


def _fields(head: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a head that we made, read in the plainest way."""
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:-2]]
    return _plain(
        Message((), tuple((name.lower(), value.strip(b" \t")) for name, _, value in lines), b"")
    ).fields


def _frames(head: bytes) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in _fields(head))


def _plain(message: Message) -> Message:
    """h11 gives transfer codings in lower case."""
    fields = (
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in message.fields
    )
    return message._replace(fields=tuple(fields))
