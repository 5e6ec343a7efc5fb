"""What a proxy has to take away, to add and to leave alone (RFC 9110 section 7.6)."""

from __future__ import annotations

import gzip
from ipaddress import ip_address, ip_network
from typing import Final

from benchmarks.wire.case import Case, Send, Whole, request, sized
from benchmarks.wire.judge import (
    Judge,
    answered,
    forwarded,
    refused,
    request_has,
    request_where,
    response_has,
    tries,
)
from benchmarks.wire.observed import Request

_ONCE: Final = forwarded()
_BODY: Final = gzip.compress(b"hello", mtime=0)  # because one of them says so


def _request(name: str, *fields: bytes, right: Judge, section: str = "9110 7.6.1") -> Case:
    return Case(name, section, (Send(request(b"GET / HTTP/1.1", *fields)),), right)


def _response(name: str, *fields: bytes, right: Judge, section: str = "9110 7.6.1") -> Case:
    script = (Whole(), Send(sized(_BODY, *fields)))
    return Case(
        name,
        section,
        (Send(request(b"GET / HTTP/1.1")),),
        answered(200, body=_BODY) & right,
        upstream=(script,),
    )


def _ends_with_client(values: list[bytes]) -> bool:
    """Its address, which Envoy replaces by the machine's own if the client is on it; none of those it has sent."""
    last = b",".join(values).rpartition(b",")[2].strip().decode("latin-1")
    try:
        return ip_address(last) not in ip_network("203.0.113.0/24")
    except ValueError:
        return False


def _forwarded_for(each: Request) -> bool:
    return _ends_with_client(each.get(b"x-forwarded-for"))


def _nominated(name: bytes, each: Request) -> bool:
    """`Connection: name` is gone; what was to be protected is still there."""
    return bool(each.get(name)) and name not in b",".join(each.get(b"connection")).lower()


_FOR: Final = request_where("X-Forwarded-For ends with the client", _forwarded_for)

_NO_FURTHER: Final = tries(0) & (refused() | answered(200, 204))

CASES: Final = (
    # hop-by-hop, requests
    _request(
        "Connection is not passed on",
        b"Connection: x-other",
        right=_ONCE
        & request_where(
            "no x-other in Connection",
            lambda each: b"x-other" not in b",".join(each.get(b"connection")).lower(),
        ),
    ),
    _request(
        "what Connection nominates",
        b"Connection: X-Secret",
        b"X-Secret: 1",
        right=_ONCE & request_has(b"x-secret"),
    ),
    _request(
        "what Connection nominates, in a list",
        b"Connection: keep-alive, X-Secret ,x-other",
        b"X-Secret: 1",
        b"X-Other: 1",
        right=_ONCE & request_has(b"x-secret") & request_has(b"x-other"),
    ),
    _request(
        "what a second Connection nominates",
        b"Connection: keep-alive",
        b"Connection: X-Secret",
        b"X-Secret: 1",
        right=_ONCE & request_has(b"x-secret"),
    ),
    _request("Keep-Alive", b"Keep-Alive: timeout=5", right=_ONCE & request_has(b"keep-alive")),
    _request(
        "Proxy-Connection", b"Proxy-Connection: keep-alive", right=_ONCE & request_has(b"proxy-connection")
    ),
    _request(
        "TE",
        b"TE: gzip, trailers",
        b"Connection: TE",
        right=_ONCE
        & request_where("TE at most trailers", lambda each: b"gzip" not in b",".join(each.get(b"te"))),
        section="9110 10.1.4",
    ),
    _request(
        "TE that Connection forgot", b"TE: gzip", right=_ONCE & request_has(b"te"), section="9110 10.1.4"
    ),
    _request(
        "Upgrade that Connection forgot",
        b"Upgrade: websocket",
        right=_ONCE & request_has(b"upgrade"),
        section="9110 7.8",
    ),
    _request(
        "Upgrade to h2c",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"Connection: Upgrade, HTTP2-Settings",
        right=refused() | (_ONCE & request_has(b"upgrade") & request_has(b"http2-settings")),
        section="9110 7.8",
    ),
    _request("Trailer stays", b"Trailer: X-Check", right=_ONCE, section="9110 6.6.2"),
    # what Connection must not reach
    _request(
        "Connection cannot remove Host",
        b"Connection: Host",
        right=refused() | (_ONCE & request_has(b"host", b"wire.test")),
    ),
    _request(
        "Connection cannot remove X-Forwarded-For",
        b"Connection: X-Forwarded-For",
        right=refused() | (_ONCE & _FOR),
    ),
    _request(
        "Connection cannot remove X-Forwarded-Proto",
        b"Connection: X-Forwarded-Proto",
        right=refused()
        | (
            _ONCE
            & request_where("X-Forwarded-Proto there", lambda each: _nominated(b"x-forwarded-proto", each))
        ),
    ),
    _request(
        "Connection cannot remove Via",
        b"Connection: Via",
        right=refused() | (_ONCE & request_where("Via there", lambda each: bool(each.get(b"via")))),
    ),
    _request("Connection with an empty list", b"Connection: , ,", right=_ONCE | refused()),
    _request("Connection with what is no token", b"Connection: a b, (c)", right=_ONCE | refused()),
    # hop-by-hop, responses
    _response(
        "what Connection of a response nominates",
        b"Connection: X-Secret",
        b"X-Secret: 1",
        right=response_has(b"x-secret"),
    ),
    _response(
        "Keep-Alive of a response",
        b"Keep-Alive: timeout=77",
        right=Judge(
            "no foreign Keep-Alive",
            lambda seen: (
                None
                if b"timeout=77" not in seen.clients[-1].raw
                else "the client got the upstream's Keep-Alive"
            ),
        ),
    ),
    _response(
        "Proxy-Connection of a response",
        b"Proxy-Connection: keep-alive",
        right=response_has(b"proxy-connection"),
    ),
    _response(
        "Upgrade of a response that Connection forgot",
        b"Upgrade: h2c",
        right=response_has(b"upgrade"),
        section="9110 7.8",
    ),
    _response(
        "Upgrade of a response",
        b"Upgrade: h2c",
        b"Connection: upgrade",
        right=response_has(b"upgrade")
        | Judge(
            "with Connection",
            lambda seen: (
                None
                if b"upgrade" in b",".join(seen.responses[-1].get(b"connection")).lower()
                else "Upgrade without Connection"
            ),
        ),
        section="9110 7.8",
    ),
    _response(
        "Connection of a response cannot remove Content-Length",
        b"Connection: content-length",
        right=answered(200, body=_BODY),
    ),
    # forwarding
    _request(
        "X-Forwarded-For is the client",
        right=_ONCE
        & request_where(
            "X-Forwarded-For is the client",
            lambda each: len(each.get(b"x-forwarded-for")) == 1 and _forwarded_for(each),
        ),
        section="7239 5.2",
    ),
    _request(
        "X-Forwarded-For from outside",
        b"X-Forwarded-For: 203.0.113.1",
        right=_ONCE & _FOR,
        section="7239 5.2",
    ),
    _request(
        "X-Forwarded-For twice",
        b"X-Forwarded-For: 203.0.113.1",
        b"X-Forwarded-For: 203.0.113.2",
        right=_ONCE & _FOR,
        section="7239 5.2",
    ),
    _request(
        "X-Forwarded-For that is garbage",
        b'X-Forwarded-For: ,,;"x',
        right=refused() | (_ONCE & _FOR),
        section="7239 5.2",
    ),
    _request(
        "X-Forwarded-For with an underscore",
        b"X_Forwarded_For: 203.0.113.1",
        right=_ONCE & request_has(b"x_forwarded_for"),
        section="7239 8",
    ),
    _request(
        "X-Forwarded-Proto is http",
        right=_ONCE & request_has(b"x-forwarded-proto", b"http"),
        section="7239 5.4",
    ),
    _request(
        "X-Forwarded-Proto from outside",
        b"X-Forwarded-Proto: https",
        right=_ONCE
        & request_where("one X-Forwarded-Proto", lambda each: len(each.get(b"x-forwarded-proto")) == 1),
        section="7239 5.4",
    ),
    _request(
        "Via is there",
        right=_ONCE & request_where("Via there", lambda each: b"1.1 " in b",".join(each.get(b"via"))),
        section="9110 7.6.3",
    ),
    _request(
        "Via of others is kept",
        b"Via: 1.0 fred",
        right=_ONCE
        & request_where(
            "Via appended",
            lambda each: (
                b",".join(each.get(b"via")).startswith(b"1.0 fred") and b"1.1 " in b",".join(each.get(b"via"))
            ),
        ),
        section="9110 7.6.3",
    ),
    _request("Host is kept", right=_ONCE & request_has(b"host", b"wire.test"), section="9110 7.2"),
    _request(
        "Max-Forwards is no business of GET",
        b"Max-Forwards: 0",
        right=_ONCE & request_has(b"max-forwards", b"0"),
        section="9110 7.6.2",
    ),
    Case(
        "OPTIONS that may go no further",
        "9110 7.6.2",
        (Send(request(b"OPTIONS / HTTP/1.1", b"Max-Forwards: 0")),),
        _NO_FURTHER,
        methods=("OPTIONS",),
    ),
    Case(
        "OPTIONS that may go a step further",
        "9110 7.6.2",
        (Send(request(b"OPTIONS / HTTP/1.1", b"Max-Forwards: 5")),),
        refused() | (_ONCE & request_has(b"max-forwards", b"4")),
        methods=("OPTIONS",),
    ),
    Case(
        "TRACE that may go no further",
        "9110 7.6.2",
        (Send(request(b"TRACE / HTTP/1.1", b"Max-Forwards: 0")),),
        _NO_FURTHER,
        methods=("TRACE",),
    ),
    # left alone
    _request(
        "Authorization, Cookie and Range",
        b"Authorization: Basic YTpi",
        b"Cookie: a=b; c=d",
        b"Range: bytes=0-1",
        right=_ONCE
        & request_has(b"authorization", b"Basic YTpi")
        & request_has(b"cookie", b"a=b; c=d")
        & request_has(b"range", b"bytes=0-1"),
        section="9110 7.7",
    ),
    _request(
        "two Cookie fields",
        b"Cookie: a=b",
        b"Cookie: c=d",
        right=_ONCE
        & request_where(
            "both cookies",
            lambda each: b"a=b" in b"".join(each.get(b"cookie")) and b"c=d" in b"".join(each.get(b"cookie")),
        ),
        section="6265 5.4",
    ),
    _request(
        "Accept-Encoding",
        b"Accept-Encoding: br",
        right=_ONCE & request_has(b"accept-encoding", b"br"),
        section="9110 7.7",
    ),
    _request("no Accept-Encoding", right=_ONCE & request_has(b"accept-encoding"), section="9110 7.7"),
    _request("no User-Agent", right=_ONCE & request_has(b"user-agent"), section="9110 7.7"),
    _request(
        "an unknown field",
        b"X-Unknown: a, b;c",
        right=_ONCE & request_has(b"x-unknown", b"a, b;c"),
        section="9110 5.1",
    ),
    _response(
        "Date of the upstream is kept",
        b"Date: Tue, 15 Nov 1994 08:12:31 GMT",
        right=response_has(b"date", b"Tue, 15 Nov 1994 08:12:31 GMT"),
        section="9110 6.6.1",
    ),
    _response(
        "Date is added where there is none",
        right=Judge(
            "one Date",
            lambda seen: None if len(seen.responses[-1].get(b"date")) == 1 else "the client got no Date",
        ),
        section="9110 6.6.1",
    ),
    _response(
        "Content-Encoding stays",
        b"Content-Encoding: gzip",
        b"Cache-Control: no-transform",
        b'ETag: "a"',
        right=response_has(b"content-encoding", b"gzip") & response_has(b"etag", b'"a"'),
        section="9110 7.7",
    ),
    _response(
        "Server of the upstream is kept",
        b"Server: app",
        right=response_has(b"server", b"app"),
        section="9110 10.2.4",
    ),
    _response(
        "WWW-Authenticate twice",
        b"WWW-Authenticate: Basic",
        b"WWW-Authenticate: Bearer",
        right=response_has(b"www-authenticate", b"Basic", b"Bearer"),
        section="9110 5.3",
    ),
)
