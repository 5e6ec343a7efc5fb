"""Upgrades: the handshake, both directions, all ends (RFC 9110 section 7.8, RFC 6455)."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import (
    GET,
    Action,
    Case,
    Close,
    Deaf,
    HalfClose,
    Pause,
    Reconnect,
    Reset,
    Send,
    Until,
    Whole,
    request,
    sized,
)
from benchmarks.wire.judge import (
    Judge,
    answered,
    client_ended,
    client_got,
    client_never_got,
    closed,
    failed_upstream,
    forwarded,
    refused,
    request_has,
    request_where,
    upstream_ended,
    upstream_got,
    upstream_never_got,
)

_HANDSHAKE: Final = request(
    b"GET /chat HTTP/1.1",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)
_SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_UPGRADED: Final = answered(101)
_MASKED: Final = bytes.fromhex("818537fa213d7f9f4d5158")  # "Hello", from the example of RFC 6455 section 5.7
_FRAME: Final = bytes.fromhex("810548656c6c6f")


def _tunnel(name: str, client: tuple[Action, ...], upstream: tuple[Action, ...], right: Judge) -> Case:
    return Case(
        name,
        "6455 4",
        (Send(_HANDSHAKE), Until("client", b"\r\n\r\n"), *client),
        _UPGRADED & right,
        upstream=((Whole(), Send(_SWITCH), *upstream),),
        methods=("UPGRADE",),
    )


CASES: Final = (
    _tunnel(
        "the handshake",
        (),
        (),
        request_has(b"upgrade", b"websocket")
        & request_has(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
        & request_where(
            "Connection: upgrade", lambda each: b"upgrade" in b",".join(each.get(b"connection")).lower()
        ),
    ),
    _tunnel(
        "a frame each way",
        (Send(_MASKED), Until("client", _FRAME)),
        (Until("upstream", _MASKED), Send(_FRAME)),
        client_got(_FRAME) & upstream_got(_MASKED),
    ),
    Case(
        "a frame right behind the 101",
        "6455 4.2.2",
        (Send(_HANDSHAKE), Until("client", _FRAME)),
        _UPGRADED,
        upstream=((Whole(), Send(_SWITCH + _FRAME)),),
        methods=("UPGRADE",),
    ),
    _tunnel(
        "the server speaks first",
        (Until("client", _FRAME), Send(_MASKED), Until("upstream", _MASKED)),
        (Pause(0.2), Send(_FRAME), Until("upstream", _MASKED)),
        client_got(_FRAME),
    ),
    _tunnel(
        "every byte value both ways",
        (Send(bytes(range(256))), Until("client", bytes(range(256)))),
        (Until("upstream", bytes(range(256))), Send(bytes(range(256)))),
        client_got(bytes(range(256))),
    ),
    _tunnel(
        "bytes that look like requests",
        (Send(GET), Until("upstream", GET)),
        (Until("upstream", GET),),
        upstream_got(GET),
    ),
    _tunnel(
        "silence longer than the idle limit",
        (Pause(4), Send(_MASKED), Until("upstream", _MASKED)),
        (Until("client", b"101"), Pause(3.5), Until("upstream", _MASKED)),
        upstream_got(_MASKED),
    ),
    _tunnel(
        "a megabyte to the client",
        (Until("client", b"end"),),
        (Send(b"x" * (1 << 20) + b"end"),),
        client_got(b"end"),
    ),
    _tunnel(
        "a megabyte to the server",
        (Send(b"x" * (1 << 20) + b"end"), Until("upstream", b"end")),
        (Until("upstream", b"end"),),
        upstream_got(b"end"),
    ),
    _tunnel(
        "a client that does not read for a second",
        (Deaf(1.0), Until("client", b"end")),
        (Send(b"x" * (8 << 20) + b"end"),),
        client_got(b"end"),
    ),
    Case(
        "103 before 101",
        "9110 15.2",
        (Send(_HANDSHAKE), Until("client", _FRAME)),
        _UPGRADED,
        upstream=(
            (
                Whole(),
                Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
                Pause(0.1),
                Send(_SWITCH + _FRAME),
            ),
        ),
        methods=("UPGRADE",),
    ),
    Case(
        "the handshake as some browsers send it",
        "9110 7.8",
        (
            Send(
                _HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: keep-alive, UPGRADE").replace(
                    b": websocket", b": WebSocket"
                )
            ),
            Until("client", _FRAME),
        ),
        _UPGRADED,
        upstream=((Whole(), Send(_SWITCH + _FRAME)),),
        methods=("UPGRADE",),
    ),
    Case(
        "the handshake when one upstream refuses connections",
        "9110 9.2.2",
        (Send(_HANDSHAKE), Until("client", _FRAME), Reconnect(), Send(_HANDSHAKE), Until("client", _FRAME)),
        answered(101, count=2),
        upstream=((Whole(), Send(_SWITCH + _FRAME)),) * 2,
        methods=("UPGRADE", "UPGRADE"),
        refusing=frozenset("a"),
    ),
    # ends
    _tunnel("the client closes", (Close(),), (Pause(0.3),), upstream_ended("closed", "reset")),
    _tunnel("the client resets", (Reset(),), (Pause(0.3),), upstream_ended("closed", "reset")),
    _tunnel("the server closes", (), (Send(_FRAME), Close()), client_got(_FRAME) & client_ended("closed")),
    _tunnel(
        "the server resets",
        (),
        (Until("client", b"101"), Pause(0.1), Reset()),
        client_ended("closed", "reset"),
    ),
    _tunnel(
        "the server's last words", (), (Send(b"x" * (1 << 18) + b"end"), HalfClose()), client_got(b"end")
    ),
    _tunnel(
        "the client's last words",
        (Send(b"x" * (1 << 18) + b"end"), HalfClose(), Until("upstream", b"end")),
        (Until("upstream", b"end"),),
        upstream_got(b"end"),
    ),
    # refusals
    Case(
        "the server refuses",
        "6455 4.2.2",
        (Send(_HANDSHAKE), Until("client", b"no"), Send(GET)),
        answered(200, body=b"answer", count=2) | (answered(403, body=b"no") & closed()),
        upstream=((Whole(), Send(sized(b"no", line=b"HTTP/1.1 403 Forbidden"))),),
        methods=("UPGRADE", "GET"),
    ),
    Case(
        "the server ignores the upgrade",
        "9110 7.8",
        (Send(_HANDSHAKE),),
        answered(200, body=b"plain"),
        upstream=((Whole(), Send(sized(b"plain"))),),
        methods=("UPGRADE",),
    ),
    Case(
        "the server wants another version",
        "6455 4.4",
        (Send(_HANDSHAKE),),
        answered(426),
        upstream=(
            (Whole(), Send(sized(b"", b"Sec-WebSocket-Version: 13", line=b"HTTP/1.1 426 Upgrade Required"))),
        ),
        methods=("UPGRADE",),
    ),
    Case(
        "a request behind a handshake that is refused",
        "9110 7.8",
        (Send(_HANDSHAKE + request(b"GET /next HTTP/1.1")),),
        answered(200, body=b"answer", count=2) | closed(),
        upstream=((Whole(), Pause(0.2), Send(sized(b"no", line=b"HTTP/1.1 426 Upgrade Required"))),),
        methods=("UPGRADE", "GET"),
    ),
    Case(
        "101 with a Content-Length",
        "9110 15.2.2",
        (Send(_HANDSHAKE), Until("client", _FRAME)),
        _UPGRADED | failed_upstream(),
        upstream=((Whole(), Send(_SWITCH.replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1) + _FRAME)),) * 3,
        methods=("UPGRADE",),
    ),
    Case(
        "101 for another protocol than asked for",
        "9110 7.8",
        (Send(_HANDSHAKE),),
        failed_upstream() & client_never_got(b"evil") | _UPGRADED,
        upstream=(
            (
                Whole(),
                Send(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\nevil"
                ),
            ),
        )
        * 3,
        methods=("UPGRADE",),
    ),
    Case(
        "upgrade of HTTP/1.0 is ignored",
        "9110 7.8",
        (Send(_HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0")),),
        refused() | (answered(200) & upstream_never_got(b"Upgrade: websocket")),
    ),
    Case(
        "upgrade with a body",
        "9110 7.8",
        (
            Send(
                request(
                    b"POST /chat HTTP/1.1",
                    b"Upgrade: websocket",
                    b"Connection: Upgrade",
                    b"Content-Length: 5",
                    body=b"hello",
                )
            ),
        ),
        refused() | forwarded(b"hello"),
        methods=("POST",),
    ),
)
