"""What comes before HTTP: whole, cut anywhere, wrong, late, or too much of it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from bgproxy.model import Forwarding, ListenerTls, Protocol, Timeouts
from bgproxy.proxy import limits, proxy_protocol
from tests.proxy.conftest import Converse
from tests.support.certificates import Authority
from tests.support.conversation import Conversation, answer
from tests.support.peers import PATIENCE_S, Peer

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
V2 = proxy_protocol.build(2, (b"2001:db8::7", 4711), (b"2001:db8::1", 8443))
FOR_US = (b"PROXY UNKNOWN\r\n", proxy_protocol.build(2, None, None))
REQUEST = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"
PROXY = {"proxy_protocol": True}
MUCH_BYTES = 16 * 1024 * 1024  # more than the kernel keeps for a peer who does not read
TOLD = {**PROXY, "forwarding": Forwarding(via=False, request_id=False)}
# A record of the handshake, of TLS 1.2, with nothing in it that there is.
NO_TLS = b"\x16\x03\x03\x00\x04\xff\xff\xff\xff"
UNEXPECTED = b"\x15\x03\x03\x00\x02\x02\x0a"  # an alert
IMPATIENT = Timeouts(request_head_s=0.05)


class TlsClient:
    """TLS over a test's own socket, so that the test decides how its bytes are cut."""

    def __init__(
        self, peer: Peer | None, authority: Authority, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> None:
        self._peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=authority.path)
        context.maximum_version = version
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="app")

    def hello(self) -> bytes:
        """The first bytes that TLS sends, which are the test's to send."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    async def gets_secured(self, *, then: bytes = b"") -> None:
        """Ends the handshake; `then` is sent in one segment with its last message."""

        def step() -> None:
            self._tls.do_handshake()
            if then:
                self._tls.write(then)

        await self._until(step)

    async def sends(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    async def gets_response(self) -> bytes:
        """The head and as much of the body as came with it."""
        response = b""
        while b"\r\n\r\n" not in response:
            response += await self._until(lambda: self._tls.read(65536))
        return response

    async def _until(self, step: Any) -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    await self._flush()
                    assert self._peer is not None
                    data = await loop.sock_recv(self._peer.socket, 65536)
                    assert data, "closed in the middle of TLS"
                    self._incoming.write(data)
                else:
                    await self._flush()
                    return result

    async def _flush(self) -> None:
        assert self._peer is not None
        await self._peer.sends(self._outgoing.read())


async def is_answered(talk: Conversation, *, from_upstream: Peer | None = None) -> bytes:
    """Has the upstream answer one request; returns its head as the upstream got it."""
    upstream = from_upstream or await talk.blue[0].accepts()
    head = await upstream.gets_until(b"\r\n\r\n")
    await upstream.sends(answer("ok"))
    return head


async def asks(secured: TlsClient) -> None:
    """As soon as it may, and again."""
    await secured.gets_secured(then=REQUEST)
    await asyncio.sleep(0)
    await secured.sends(REQUEST * 100)
    await secured.gets_response()


async def in_two(client: Peer, data: bytes, cut: int) -> None:
    await client.sends(data[:cut])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await client.sends(data[cut:])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> dict[str, Any]:
    return {"tls": ListenerTls((authority.issues("app"),))}


# --- PROXY ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "source", "port"),
    [(V1, b"192.0.2.7", b"443"), (V2, b"2001:db8::7", b"8443")],
    ids=["v1", "v2"],
)
async def test_a_proxy_header_says_whom_a_connection_is_from(
    converse: Converse, header: bytes, source: bytes, port: bytes
) -> None:
    talk = await converse(listener=TOLD)
    client = await talk.client()
    await client.sends(header + REQUEST)
    head = await is_answered(talk)
    assert b"\r\nX-Forwarded-For: %b\r\n" % source in head
    assert b"\r\nX-Forwarded-Port: %b\r\n" % port in head
    await client.gets(answer("ok"))


@pytest.mark.parametrize("header", FOR_US, ids=["v1", "v2"])
async def test_a_header_that_names_nobody_leaves_the_real_peer(converse: Converse, header: bytes) -> None:
    talk = await converse(listener=TOLD)
    client = await talk.client()
    await client.sends(header + REQUEST)
    head = await is_answered(talk)
    assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in head
    assert b"\r\nX-Forwarded-Port: %d\r\n" % talk.port("public") in head


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_the_header_may_arrive_byte_by_byte_and_cut_anywhere(converse: Converse, header: bytes) -> None:
    talk = await converse(listener=PROXY)
    data = header + REQUEST
    upstream: Peer | None = None
    for cut in (*range(len(data)), -1):
        client = await talk.client()
        if cut < 0:
            for byte in data:
                await client.sends(bytes([byte]))
                await asyncio.sleep(0)
        else:
            await in_two(client, data, cut)
        upstream = upstream or await talk.blue[0].accepts()
        await is_answered(talk, from_upstream=upstream)
        await client.gets(answer("ok"))
        client.closes()


async def test_pipelined_requests_behind_the_header_are_all_answered(converse: Converse) -> None:
    talk = await converse(listener=PROXY)
    client = await talk.client()
    await client.sends(V1 + REQUEST * 2)
    upstream = await talk.blue[0].accepts()
    for _ in range(2):
        await is_answered(talk, from_upstream=upstream)
        await client.gets(answer("ok"))


@pytest.mark.parametrize(
    "wrong",
    [REQUEST, b"PROXY TCP4 192.0.2.7\r\n" + REQUEST, V2[:12] + b"\x31" + V2[13:], b"PROXY " + b"x" * 200],
    ids=["no header", "half a header", "version 3", "no end"],
)
async def test_a_wrong_header_is_closed_without_an_answer_counted_and_told(
    converse: Converse, caplog: pytest.LogCaptureFixture, wrong: bytes
) -> None:
    talk = await converse(listener=PROXY)
    for _ in range(3):
        client = await talk.client()
        await client.sends(wrong)
        assert await client.gets_cut_off() == b""
    assert talk.worker.accepted == 3
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.getMessage().startswith(
        "listener public: a connection from 127.0.0.1 was closed: its PROXY"
    ) or ("does not begin with a PROXY header" in record.getMessage())
    assert talk.blue[0].is_unused()


async def test_a_header_that_does_not_come_in_time_is_closed_without_an_answer(
    converse: Converse, caplog: pytest.LogCaptureFixture
) -> None:
    talk = await converse(listener=PROXY, timeouts=IMPATIENT)
    silent, dripping = await talk.client(), await talk.client()
    await dripping.sends(V1[:20])
    assert await silent.gets_cut_off() == b""
    assert await dripping.gets_cut_off() == b""
    assert talk.worker.accepted == 2
    assert "no whole PROXY header came from 127.0.0.1 in time" in caplog.text


async def test_whoever_leaves_before_the_header_is_no_reason_for_a_complaint(
    converse: Converse, caplog: pytest.LogCaptureFixture
) -> None:
    """As the checks of a load balancer do."""
    talk = await converse(listener=PROXY)
    client = await talk.client()
    client.closes()
    await talk.until(lambda: talk.worker.accepted == 1, "it is counted")
    assert not talk.plane.downstreams
    assert caplog.text == ""


async def test_a_drain_waits_for_whoever_is_still_at_the_header(converse: Converse) -> None:
    talk = await converse(listener=PROXY)
    client = await talk.client()
    await client.sends(V1[:20])
    talk.plane.drain(20.0, 0.0)
    await talk.sweeps()
    assert not talk.plane.is_empty()
    await client.sends(V1[20:] + REQUEST)
    await is_answered(talk)
    assert (await client.gets_response()).status == 200


async def test_a_header_of_a_client_on_a_unix_socket_is_no_address(converse: Converse) -> None:
    talk = await converse(listener=PROXY)
    client = await talk.client("unix")
    addresses = bytes(216)
    await client.sends(V2[:12] + b"\x21\x31" + len(addresses).to_bytes(2, "big") + addresses + REQUEST)
    await is_answered(talk)
    downstream = talk.downstream
    assert downstream.peer == b"unix:"


# --- TLS ------------------------------------------------------------------------------------------


async def test_tls_begins_with_what_was_read_before_it(
    converse: Converse, authority: Authority, tls: dict[str, Any]
) -> None:
    talk = await converse(listener=tls)
    client = await talk.client()
    secured = TlsClient(client, authority)
    await client.sends(secured.hello())
    await secured.gets_secured()
    await secured.sends(REQUEST)
    await is_answered(talk)
    assert (await secured.gets_response()).endswith(b"ok")


@pytest.mark.parametrize("header", [b"", V1, V2], ids=["none", "v1", "v2"])
async def test_the_header_and_the_handshake_may_be_cut_anywhere(
    converse: Converse, authority: Authority, tls: dict[str, Any], header: bytes
) -> None:
    talk = await converse(listener={**tls, "proxy_protocol": bool(header)})
    upstream: Peer | None = None
    for cut in (*range(0, len(header), 5), *range(len(header) - 1, len(header) + 7), len(header) + 100):
        client = await talk.client()
        secured = TlsClient(client, authority)
        await in_two(client, header + secured.hello(), max(cut, 0))
        await secured.gets_secured()
        await secured.sends(REQUEST)
        upstream = upstream or await talk.blue[0].accepts()
        await is_answered(talk, from_upstream=upstream)
        assert (await secured.gets_response()).endswith(b"ok")
        client.closes()


async def test_requests_right_behind_the_handshake_are_answered(
    converse: Converse, authority: Authority, tls: dict[str, Any]
) -> None:
    """The client's last message of the handshake and its request are in one segment."""
    talk = await converse(listener={**tls, **TOLD})
    client = await talk.client()
    secured = TlsClient(client, authority)
    await client.sends(V1 + secured.hello())
    await secured.gets_secured(then=REQUEST)
    head = await is_answered(talk)
    assert b"\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n" in head
    assert (await secured.gets_response()).endswith(b"ok")


async def test_a_failed_handshake_is_counted_and_told_but_not_for_each(
    converse: Converse, caplog: pytest.LogCaptureFixture, tls: dict[str, Any]
) -> None:
    talk = await converse(listener=tls)
    for _ in range(3):
        client = await talk.client()
        await client.sends(NO_TLS)
        await client.gets(UNEXPECTED)
        await client.gets_end()
        client.closes()
    await talk.until(lambda: talk.worker.accepted == 3, "they are counted")
    assert caplog.text.count("no TLS with 127.0.0.1: unexpected message") == 1
    await talk.until(lambda: not talk.plane.downstreams, "they are gone")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_goes_on_sending_still_hears_why_it_is_refused(
    converse: Converse, authority: Authority, version: ssl.TLSVersion
) -> None:
    """Closed at once, its kernel would throw the alert away as soon as it sends more."""
    settings = ListenerTls((authority.issues("app"),), client_ca=authority.path)
    talk = await converse(listener={"tls": settings})
    for _ in range(3):
        client = await talk.client()
        secured = TlsClient(client, authority, version)
        await client.sends(secured.hello())
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await asks(secured)
        await client.gets_end()
        await client.sends(b"\0" * MUCH_BYTES)
        client.closes()
    await talk.until(lambda: not talk.plane.downstreams, "they are gone")
    assert talk.worker.accepted == 3


async def test_who_is_refused_and_does_not_leave_is_cut_off(
    converse: Converse, tls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINGER_S", 0.05)
    talk = await converse(listener=tls)
    client = await talk.client()
    await client.sends(NO_TLS)
    await client.gets(UNEXPECTED)
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")


@pytest.mark.parametrize("header", [b"", V1], ids=["none", "v1"])
@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"X"])
async def test_plain_http_where_tls_is_spoken_is_told_so(
    converse: Converse, tls: dict[str, Any], method: bytes, header: bytes
) -> None:
    talk = await converse(listener={**tls, "proxy_protocol": bool(header)})
    client = await talk.client()
    await client.sends(header + REQUEST.replace(b"GET", method))
    response = await client.gets_response()
    assert response.status == 400
    assert "this port speaks TLS: use https://" in response.body
    await client.gets_end()
    client.closes()
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")
    assert talk.worker.accepted == 1
    assert talk.blue[0].is_unused()


async def test_on_a_tcp_listener_nobody_is_told_so(converse: Converse, tls: dict[str, Any]) -> None:
    talk = await converse(listener={**tls, "protocol": Protocol.TCP})
    client = await talk.client()
    await client.sends(REQUEST)
    await client.gets_end()


async def test_a_drain_does_not_wait_for_who_has_said_nothing(
    converse: Converse, tls: dict[str, Any]
) -> None:
    talk = await converse(listener=tls)
    client = await talk.client()
    talk.plane.drain(20.0, 0.0)
    await client.gets_end()


@pytest.mark.parametrize("sent", [0, 50], ids=["nothing", "half a hello"])
async def test_a_handshake_that_does_not_end_in_time_is_cut_off(
    converse: Converse,
    authority: Authority,
    tls: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    sent: int,
) -> None:
    talk = await converse(listener=tls, timeouts=IMPATIENT)
    client = await talk.client()
    await client.sends(TlsClient(client, authority).hello()[:sent])
    await client.gets_cut_off()
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")
    assert talk.worker.accepted == 1
    assert caplog.text == ""


@pytest.mark.parametrize("leaves", [Peer.closes, Peer.aborts])
async def test_whoever_leaves_during_the_handshake_is_forgotten(
    converse: Converse, authority: Authority, tls: dict[str, Any], leaves: Any
) -> None:
    talk = await converse(listener=tls)
    client = await talk.client()
    await client.sends(TlsClient(client, authority).hello()[:50])
    leaves(client)
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")
    assert talk.worker.accepted == 1


# --- limits ---------------------------------------------------------------------------------------


async def assert_turned_away(client: Peer, reason: str) -> None:
    response = await client.gets_response()
    assert response.status == 503
    assert response.fields["retry-after"] == "1"
    assert reason in response.body
    await client.gets_end()
    client.closes()


async def test_connections_over_the_limit_get_a_503_until_others_have_left(
    converse: Converse, caplog: pytest.LogCaptureFixture
) -> None:
    talk = await converse(listener={"connections": 2})
    first, second = await talk.client(), await talk.client()
    for _ in range(3):
        await assert_turned_away(await talk.client(), "this listener has too many connections")
    assert caplog.text.count("the 2 connections that `limits.connections` of listener public allows") == 1
    await first.sends(REQUEST)
    await is_answered(talk)
    await first.gets(answer("ok"))
    second.closes()
    await talk.until(lambda: talk.worker.connections == 1, "the second has left")
    third = await talk.client()
    await third.sends(REQUEST)
    assert third.has_nothing()
    await assert_turned_away(await talk.client(), "this listener has too many connections")


async def test_the_limit_is_one_of_each_listener(converse: Converse) -> None:
    talk = await converse(listener={"connections": 1})
    await talk.client("public")
    other = await talk.client("preview")
    await other.sends(REQUEST)
    await (await talk.green[0].accepts()).gets_until(b"\r\n\r\n")


async def test_one_client_may_not_have_all_connections(
    converse: Converse, caplog: pytest.LogCaptureFixture
) -> None:
    talk = await converse(listener={"connections_per_client": 1})
    await talk.client()
    await assert_turned_away(await talk.client(), "too many connections from this address")
    assert "client 127.0.0.1 is turned away: it has the 1 connections" in caplog.text


async def test_clients_are_told_apart_by_what_their_proxy_header_says(converse: Converse) -> None:
    talk = await converse(listener={**PROXY, "connections_per_client": 1})
    first, same, other = await talk.client(), await talk.client(), await talk.client()
    await first.sends(V1 + REQUEST)
    upstream = await talk.blue[0].accepts()
    await is_answered(talk, from_upstream=upstream)
    await first.gets(answer("ok"))
    await same.sends(V1 + REQUEST)
    await assert_turned_away(same, "too many connections from this address")
    await other.sends(V1.replace(b"192.0.2.7", b"192.0.2.8") + REQUEST)
    await is_answered(talk, from_upstream=upstream)
    await other.gets(answer("ok"))
    first.closes()
    await talk.until(lambda: talk.worker.connections == 1, "the first has left")
    again = await talk.client()
    await again.sends(V1 + REQUEST)
    await is_answered(talk, from_upstream=upstream)


async def test_who_is_turned_away_takes_no_place(converse: Converse) -> None:
    """Over the limit of its address it does not count for the listener's either."""
    talk = await converse(listener={**PROXY, "connections": 2, "connections_per_client": 1})
    clients = [await talk.client() for _ in range(2)]
    await clients[0].sends(V1)
    await clients[1].sends(V1)
    await assert_turned_away(clients[1], "too many connections from this address")
    other = await talk.client()
    await other.sends(FOR_US[0])
    await talk.until(lambda: talk.worker.accepted == 3, "it is let in")
    assert other.has_nothing()


@pytest.mark.parametrize("sent", [0, 50, 1000], ids=["nothing", "half a hello", "a hello"])
async def test_a_full_worker_takes_nobody_in_for_a_handshake(
    converse: Converse,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    tls: dict[str, Any],
    sent: int,
) -> None:
    talk = await converse(listener=tls)
    talk.plane.max_connections = 1
    client = await talk.client()
    await client.sends(TlsClient(client, authority).hello()[:sent])
    assert await (await talk.client(accepted=False)).gets_cut_off() == b""
    assert "this worker has 1 connections and descriptors for no more" in caplog.text
    await talk.until(lambda: talk.worker.accepted == 1, "it is counted")


async def test_over_tls_the_503_comes_after_the_handshake(
    converse: Converse, authority: Authority, tls: dict[str, Any]
) -> None:
    talk = await converse(listener={**tls, "connections": 1})
    await talk.client()
    client = await talk.client()
    secured = TlsClient(client, authority)
    await client.sends(secured.hello())
    await secured.gets_secured()
    assert (await secured.gets_response()).startswith(b"HTTP/1.1 503 ")


async def test_a_place_is_free_again_however_its_connection_ended(
    converse: Converse, authority: Authority, tls: dict[str, Any]
) -> None:
    talk = await converse(listener={**tls, **PROXY, "connections": 1, "connections_per_client": 1})
    hello = TlsClient(None, authority).hello()
    for sent in (b"", V1[:10], b"nonsense", V1, V1 + hello[:30], V1 + b"nonsense", V1 + hello):
        client = await talk.client()
        await client.sends(sent)
        await asyncio.sleep(0)
        client.aborts()
        await talk.until(lambda: not talk.plane.downstreams, f"{sent!r} is gone")
    client = await talk.client()
    secured = TlsClient(client, authority)
    await client.sends(V1 + secured.hello())
    await secured.gets_secured()
    await secured.sends(REQUEST)
    await is_answered(talk)
    assert (await secured.gets_response()).endswith(b"ok")
