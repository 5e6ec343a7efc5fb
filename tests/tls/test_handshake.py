from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from bgproxy.model import ListenerTls
from bgproxy.tls.handshake import HandshakeContext
from bgproxy.tls.server import ServerContexts
from tests.support.certificates import Authority

from .ends import PATIENCE_S, listening, trusting


class Wire:
    """Both ends of a handshake in memory; what either has sent is taken to the other by `step`."""

    def __init__(self, server: HandshakeContext, client: ssl.SSLContext, name: str | None = None) -> None:
        self._to_server, self._to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._to_client, self._to_server, server_hostname=name)
        serving = server.wrap_bio(self._to_server, self._to_client, server_side=True)
        self.server = serving

    def step(self) -> bool:
        """True if the server is content."""
        try:
            self.server.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def offers(self) -> bytes:
        """The client's first bytes, which the server has not got."""
        with pytest.raises(ssl.SSLWantReadError):
            self.client.do_handshake()
        return self._to_server.read()

    def sends(self, data: bytes) -> bool:
        self._to_server.write(data)
        return self.step()

    @property
    def alert(self) -> bytes:
        """What the server has sent since it was asked last."""
        return self._to_client.read()

    @property
    def unread_bytes(self) -> int:
        return self._to_server.pending


@pytest.fixture
def context(authority: Authority) -> HandshakeContext:
    return ServerContexts(ListenerTls((authority.issues("a.example"),))).context


def refusal(port: int, context: ssl.SSLContext, name: str | None = None) -> str:
    """What a client is told that asks for something as soon as it may."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name) as tls:
                for _ in range(3):
                    tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
                tls.recv(1)
        except ssl.SSLError as error:
            return str(error.reason).lower().replace("_", " ")
    raise AssertionError("it was let in, or turned away without a word")


# --- over an event loop that knows nothing of it --------------------------------------------------


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_an_alert_says_that_the_version_is_too_old(
    authority: Authority, context: HandshakeContext
) -> None:
    client = trusting(authority.path)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")  # which TLS 1.1 needs
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(context) as at:
        assert "alert protocol version" in await asyncio.to_thread(refusal, at.port, client)


@pytest.mark.parametrize("name", [None, "b.example"], ids=["default", "chosen by name"])
@pytest.mark.parametrize(
    ("version", "own", "told"),
    [
        (ssl.TLSVersion.TLSv1_2, "none", "alert handshake failure"),
        (ssl.TLSVersion.TLSv1_2, "foreign", "alert unknown ca"),
        (ssl.TLSVersion.TLSv1_3, "none", "alert certificate required"),
        (ssl.TLSVersion.TLSv1_3, "foreign", "alert unknown ca"),
    ],
)
async def test_an_alert_says_what_is_wrong_with_the_certificate_of_a_client(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, own: str, told: str, name: str | None
) -> None:
    contexts = ServerContexts(
        ListenerTls((authority.issues("a.example"), authority.issues("b.example")), client_ca=authority.path)
    )
    client = trusting(authority.path)
    client.minimum_version = client.maximum_version = version
    if own == "foreign":
        pair = Authority(tmp_path, "foreign").issues("them.example")
        client.load_cert_chain(pair.cert, pair.key)
    async with listening(contexts.context) as at:
        assert told in await asyncio.to_thread(refusal, at.port, client, name)
        assert not at.ends[-1].is_made, "the protocol has met a client that is not let in"


# --- in memory ------------------------------------------------------------------------------------


def test_a_client_gets_one_ticket(authority: Authority, context: HandshakeContext) -> None:
    """RFC 8446 section 4.6.1: it is for one more connection, which brings the next one."""
    wire = Wire(context, trusting(authority.path), "a.example")
    assert not wire.sends(wire.offers())
    wire.client.do_handshake()
    assert wire.step()
    record = wire.alert
    assert record[:3] == b"\x17\x03\x03"
    assert len(record) == 5 + int.from_bytes(record[3:5], "big"), "nothing comes behind it"


def test_a_refused_handshake_is_told_once_and_never_succeeds(
    authority: Authority, context: HandshakeContext
) -> None:
    wire = Wire(context, trusting(authority.path))
    assert not wire.sends(b"\x16\x03\x03\x00\x04\xff\xff\xff\xff")
    assert wire.alert == b"\x15\x03\x03\x00\x02\x02\x0a"  # fatal, unexpected_message
    hello = wire.offers()
    for _ in range(3):
        assert not wire.sends(hello)
        assert not wire.unread_bytes, "it is kept, for nobody"
        assert wire.alert == b""


def test_a_failure_without_an_alert_is_seen_at_once(authority: Authority, context: HandshakeContext) -> None:
    """There is no telling somebody in TLS who does not speak it."""
    wire = Wire(context, trusting(authority.path))
    with pytest.raises(ssl.SSLError, match=r"(?i)http.request"):
        wire.sends(b"GET / HTTP/1.1\r\n\r\n")
    assert wire.alert == b""


def test_a_handshake_that_succeeds_keeps_nothing(authority: Authority, context: HandshakeContext) -> None:
    wire = Wire(context, trusting(authority.path))
    assert not wire.sends(wire.offers())
    wire.client.do_handshake()
    assert wire.step()
    assert not hasattr(wire.server, "incoming")
    assert not hasattr(wire.server, "outgoing")


@pytest.mark.parametrize("name", ["\xe4.example".encode(), b"\xff\xff\xff.example"])
def test_a_name_that_is_not_ascii_is_refused_without_a_traceback(
    authority: Authority, context: HandshakeContext, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    printed: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    before = sys.unraisablehook
    wire = Wire(context, trusting(authority.path), "x" * len(name))
    assert not wire.sends(wire.offers().replace(b"x" * len(name), name))
    assert wire.alert[:1] == b"\x15"
    assert printed == []
    assert sys.unraisablehook is before


def test_other_errors_that_nobody_can_raise_are_still_printed(
    authority: Authority, context: HandshakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise LookupError("our own mistake")

    printed: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: printed.append(str(unraisable.exc_value)))
    context.sni_callback = fails
    wire = Wire(context, trusting(authority.path))
    assert not wire.sends(wire.offers())
    assert printed == ["our own mistake"]
