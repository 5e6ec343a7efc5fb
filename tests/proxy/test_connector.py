"""Requests to upstreams that want a PROXY header, TLS, or both before the first byte."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bgproxy.model import Retries, Timeouts, UpstreamTls
from tests.proxy.conftest import Converse
from tests.support.certificates import Authority
from tests.support.conversation import Conversation, answer, forwarded, get, post
from tests.support.peers import Peer, ScriptedUpstream

T = TypeVar("T")

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01" + struct.pack("!HH", 4711, 443)
VERSIONS = pytest.mark.parametrize(("version", "header"), [(1, V1), (2, V2)])

# What ends sooner has ended for a reason.
PATIENT = Timeouts(connect_s=60.0)
MUCH = "0123456789abcdef" * 16384


class Secured(Peer):
    """The upstream's end of a connection with TLS, on top of what it has accepted."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        super().__init__(peer.socket)
        self._peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(peer._received)  # it may have come with what was before TLS
        peer._received = b""
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def shakes_hands(self, *, and_says: bytes = b"") -> None:
        """What it says is in one segment with the end of the handshake, if that is the server's (TLS 1.2)."""

        def step() -> None:
            self.tls.do_handshake()
            if and_says:
                self.tls.write(and_says)

        await self._does(step)

    async def sends(self, message: str | bytes) -> None:
        data = message if isinstance(message, bytes) else message.replace("\n", "\r\n").encode()
        await self._does(lambda: self.tls.write(data))

    async def says_goodbye(self) -> None:
        """Sends a close_notify, and closes without a look at what comes back."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        await self._flushes()
        self.half_closes()

    # Private

    async def _reads(self) -> bytes:
        data = await self._does(lambda: self.tls.read(1 << 20))
        self._received += data
        return data

    async def _does(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flushes()
                if await self._peer._reads():
                    self._incoming.write(self._peer._received)
                    self._peer._received = b""
                else:
                    self._incoming.write_eof()
            else:
                await self._flushes()
                return result

    async def _flushes(self) -> None:
        if self._outgoing.pending:
            await self._peer.sends(self._outgoing.read())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.issues("app")
    return authority


@pytest.fixture
def server(authority: Authority) -> ssl.SSLContext:
    """Shows a certificate for `app`."""
    return serving(authority)


def serving(authority: Authority, name: str = "app") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issues(name)
    context.load_cert_chain(pair.cert, pair.key)
    return context


def tls(authority: Authority, **changes: Any) -> UpstreamTls:
    return UpstreamTls(**{"ca": authority.path, "server_name": "app", **changes})


async def accepts(upstream: ScriptedUpstream, context: ssl.SSLContext) -> Secured:
    """The next connection, with its handshake."""
    return await secured(await upstream.accepts(), context)


async def secured(peer: Peer, context: ssl.SSLContext) -> Secured:
    upstream = Secured(peer, context)
    await upstream.shakes_hands()
    return upstream


async def is_turned_down(upstream: ScriptedUpstream, context: ssl.SSLContext) -> None:
    """The proxy begins a handshake and does not end it: before it has ended there can be no request."""
    peer = Secured(await upstream.accepts(), context)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await peer.shakes_hands()
    assert await peer._peer.gets_cut_off() == b""


async def asks(talk: Conversation, request: str = get()) -> Peer:
    client = await talk.client()
    await client.sends(request)
    return client


def rename(talk: Conversation, name: str) -> None:
    """Blue's first gets another name."""
    blue = talk.blue[0]
    slot, tag = blue.place
    blue.name, blue.place = name, (slot, tag + 1000)
    talk.publish(active=talk.pool("blue"))


# --- PROXY ------------------------------------------------------------------------------------------------


@VERSIONS
async def test_an_upstream_is_told_the_client_that_a_header_names(
    converse: Converse, version: int, header: bytes
) -> None:
    talk = await converse(listener={"proxy_protocol": True}, send_proxy=version)
    client = await talk.client()
    await client.sends(V1)
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(header)
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("hello"))
    await client.gets(answer("hello"))


async def test_an_upstream_is_told_where_the_client_really_is(converse: Converse) -> None:
    talk = await converse(send_proxy=1)
    client = await asks(talk)
    port = client.socket.getsockname()[1]
    upstream = await talk.blue[0].accepts()
    await upstream.gets(b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (port, talk.port("public")))


@pytest.mark.parametrize(
    ("version", "header"), [(1, b"PROXY UNKNOWN\r\n"), (2, b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0")]
)
async def test_of_a_client_on_a_unix_socket_there_is_no_address_to_tell(
    converse: Converse, version: int, header: bytes
) -> None:
    talk = await converse(send_proxy=version)
    client = await talk.client("unix")
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(header)
    await upstream.gets(forwarded(get()))


@pytest.mark.parametrize("encrypted", [False, True])
async def test_with_a_header_every_request_has_a_connection_of_its_own(
    converse: Converse, authority: Authority, server: ssl.SSLContext, encrypted: bool
) -> None:
    """Another client's request must not come by a connection that says it is this one's."""
    talk = await converse(send_proxy=1, upstream_tls=tls(authority) if encrypted else None)
    first, second = await talk.client(), await talk.client()
    for client in (first, second, first):
        await client.sends(get())
        raw = await talk.blue[0].accepts()
        await raw.gets(b"PROXY TCP4 127.0.0.1 127.0.0.1 %d " % client.socket.getsockname()[1])
        await raw.gets(b"%d\r\n" % talk.port("public"))
        upstream = await secured(raw, server) if encrypted else raw
        await upstream.gets_until(b"\r\n\r\n")
        await upstream.sends(answer("yours"))
        await client.gets(answer("yours"))
        await raw.gets_cut_off()
    assert talk.blue[0].is_unused()


@VERSIONS
async def test_the_header_comes_before_tls(
    converse: Converse, authority: Authority, server: ssl.SSLContext, version: int, header: bytes
) -> None:
    talk = await converse(listener={"proxy_protocol": True}, send_proxy=version, upstream_tls=tls(authority))
    client = await talk.client()
    await client.sends(V1)
    await client.sends(get())
    raw = await talk.blue[0].accepts()
    assert await raw.gets_bytes(len(header)) == header
    upstream = await secured(raw, server)
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("hello"))
    await client.gets(answer("hello"))


async def test_another_upstream_is_told_again(converse: Converse) -> None:
    talk = await converse(blue=2, send_proxy=1, retries=Retries(budget=1.0))
    client = await asks(talk)
    place = client.socket.getsockname()[1], talk.port("public")
    second, first = talk.blue
    for upstream in (first, second):
        peer = await upstream.accepts()
        await peer.gets(b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % place)
        await peer.gets(forwarded(get()))
        if upstream is first:
            peer.aborts()
    await peer.sends(answer("hello"))
    await client.gets(answer("hello"))


# --- who speaks first --------------------------------------------------------------------------------------


async def test_what_an_upstream_says_before_it_is_asked_is_no_response(converse: Converse) -> None:
    talk = await converse(send_proxy=1)
    client = await asks(talk)
    upstream = await talk.blue[0].accepts()
    await upstream.sends(b"220 ready\r\n\r\n")
    assert (await client.gets_response()).status == 502
    await upstream.gets_cut_off()


async def test_what_it_says_with_the_end_of_its_handshake_is_none_either(
    converse: Converse, authority: Authority, server: ssl.SSLContext
) -> None:
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    talk = await converse(upstream_tls=tls(authority))
    client = await asks(talk)
    upstream = Secured(await talk.blue[0].accepts(), server)
    await upstream.shakes_hands(and_says=b"220 ready\r\n\r\n")
    assert (await client.gets_response()).status == 502


# --- TLS: whom we speak to ----------------------------------------------------------------------------------


async def test_requests_share_a_connection_with_tls(
    converse: Converse, authority: Authority, server: ssl.SSLContext
) -> None:
    server.set_alpn_protocols(["h2", "http/1.1"])
    talk = await converse(upstream_tls=tls(authority))
    client, another = await talk.client(), await talk.client()
    await client.sends(get("/0"))
    upstream = await accepts(talk.blue[0], server)
    assert upstream.tls.selected_alpn_protocol() == "http/1.1"
    await upstream.gets(forwarded(get("/0")))
    await upstream.sends(answer("0"))
    await client.gets(answer("0"))
    for number, asking in enumerate((another, client, another), 1):
        await asking.sends(post(f"body {number}"))
        await upstream.gets(forwarded(post(f"body {number}")))
        await upstream.sends(answer(MUCH, f"Number: {number}"))
        await asking.gets(answer(MUCH, f"Number: {number}"))
    assert talk.blue[0].is_unused()


@pytest.mark.parametrize(
    ("configured", "own", "asked"),
    [
        ("app", "elsewhere:443", "app"),
        (None, "app:8443", "app"),
        (None, "127.0.0.1:8443", None),  # RFC 6066 section 3: an address is no host name
        (None, "[::1]:8443", None),
    ],
)
async def test_the_server_is_asked_for_by_the_name_that_its_certificate_has_to_be_for(
    converse: Converse, authority: Authority, configured: str | None, own: str, asked: str | None
) -> None:
    talk = await converse(upstream_tls=tls(authority, server_name=configured))
    rename(talk, own)
    server = serving(authority, configured or own.rpartition(":")[0].strip("[]"))
    names: list[str | None] = []
    server.sni_callback = lambda secured, name, context: names.append(name)
    client = await asks(talk)
    upstream = await accepts(talk.blue[0], server)
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("hello"))
    await client.gets(answer("hello"))
    assert names == [asked]


@pytest.fixture(params=["authority", "name"])
def impostor(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> ssl.SSLContext:
    """A server whose certificate is of another authority, or for another name."""
    if request.param == "authority":
        return serving(Authority(tmp_path_factory.mktemp("other")))
    return serving(authority, "other")


async def test_an_impostor_gets_nothing_of_the_request(
    converse: Converse, authority: Authority, impostor: ssl.SSLContext
) -> None:
    talk = await converse(upstream_tls=tls(authority), timeouts=PATIENT)
    client = await asks(talk, post("secret"))
    await is_turned_down(talk.blue[0], impostor)
    assert (await client.gets_response()).status == 502
    assert talk.totals(talk.blue[0]).connect_failed == 1
    assert talk.blue[0].is_unused()


async def test_another_upstream_gets_what_an_impostor_does_not(
    converse: Converse, authority: Authority, server: ssl.SSLContext, impostor: ssl.SSLContext
) -> None:
    """Nothing was sent, so any request may be tried again."""
    talk = await converse(blue=2, upstream_tls=tls(authority), timeouts=PATIENT)
    second, first = talk.blue
    client = await asks(talk, post("secret"))
    await is_turned_down(first, impostor)
    upstream = await accepts(second, server)
    await upstream.gets(forwarded(post("secret")))
    await upstream.sends(answer("hello"))
    await client.gets(answer("hello"))


async def test_who_is_not_to_be_verified_may_be_anybody(
    converse: Converse, tmp_path_factory: pytest.TempPathFactory
) -> None:
    talk = await converse(upstream_tls=UpstreamTls(verify=False))
    client = await asks(talk)
    upstream = await accepts(talk.blue[0], serving(Authority(tmp_path_factory.mktemp("any")), "whoever"))
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("hello"))
    await client.gets(answer("hello"))


async def test_an_upstream_is_shown_our_certificate(
    converse: Converse, authority: Authority, server: ssl.SSLContext
) -> None:
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(authority.path)
    talk = await converse(upstream_tls=tls(authority, certificate=authority.issues("proxy.example")))
    client = await asks(talk)
    upstream = await accepts(talk.blue[0], server)
    shown: Any = upstream.tls.getpeercert()
    assert shown["subjectAltName"] == (("DNS", "proxy.example"),)
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer("hello"))
    await client.gets(answer("hello"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_upstream_that_misses_our_certificate_is_no_upstream(
    converse: Converse, authority: Authority, server: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    server.minimum_version = server.maximum_version = version
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(authority.path)
    talk = await converse(upstream_tls=tls(authority), timeouts=PATIENT)
    client = await asks(talk)
    upstream = Secured(await talk.blue[0].accepts(), server)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE"):
        await upstream.shakes_hands()
    await upstream._flushes()  # the alert
    upstream.half_closes()
    assert (await client.gets_response()).status == 502


async def test_without_the_file_of_the_authority_nobody_can_be_trusted(
    converse: Converse, authority: Authority, tmp_path: Path
) -> None:
    settings = tls(authority, ca=str(tmp_path / "none.pem"))
    talk = await converse(upstream_tls=settings, timeouts=PATIENT)
    client = await asks(talk)
    upstream = await talk.blue[0].accepts()
    assert (await client.gets_response()).status == 502
    await upstream.gets_end()


# --- a handshake that does not end ---------------------------------------------------------------------------


async def test_a_handshake_that_does_not_end_is_a_connection_that_fails(
    converse: Converse, authority: Authority, server: ssl.SSLContext
) -> None:
    talk = await converse(blue=2, upstream_tls=tls(authority), timeouts=Timeouts(connect_s=0.5))
    second, first = talk.blue
    client = await asks(talk, post("hello"))
    silent = await first.accepts()
    upstream = await accepts(second, server)
    await upstream.gets(forwarded(post("hello")))
    await silent.gets_cut_off()
    assert talk.totals(first).connect_failed == 1
    await upstream.sends(answer("hello yourself"))
    await client.gets(answer("hello yourself"))


async def test_when_no_handshake_ends_the_client_is_told(converse: Converse, authority: Authority) -> None:
    talk = await converse(upstream_tls=tls(authority), timeouts=Timeouts(connect_s=0.05))
    client = await asks(talk)
    silent = await talk.blue[0].accepts()
    assert (await client.gets_response()).status == 502
    await silent.gets_cut_off()


@pytest.mark.parametrize("end", [Peer.half_closes, Peer.aborts, Peer.closes])
async def test_an_upstream_that_leaves_during_the_handshake_is_a_connection_that_fails(
    converse: Converse, authority: Authority, end: Callable[[Peer], None]
) -> None:
    talk = await converse(upstream_tls=tls(authority), timeouts=PATIENT)
    client = await asks(talk)
    upstream = await talk.blue[0].accepts()
    await upstream.gets(b"\x16\x03")  # a handshake begins
    end(upstream)
    assert (await client.gets_response()).status == 502
    assert talk.totals(talk.blue[0]).connect_failed == 1


@pytest.mark.parametrize(
    ("request_", "end"),
    [(post("hello"), Peer.aborts), (post("hello")[:-1], Peer.closes)],  # half a request is none
)
async def test_a_client_that_leaves_during_the_handshake_leaves_nothing_behind(
    converse: Converse, authority: Authority, request_: str, end: Callable[[Peer], None]
) -> None:
    talk = await converse(upstream_tls=tls(authority), send_proxy=1, timeouts=PATIENT)
    client = await asks(talk, request_)
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"\r\n")
    await upstream.gets(b"\x16\x03")
    end(client)
    await upstream.gets_cut_off()
    await talk.until(lambda: not talk.in_flight, "the request is over")
    assert not talk.plane.connector._attempts
    totals = talk.totals(talk.blue[0])
    assert (totals.connect_failed, totals.reset) == (0, 0)  # it is no fault of the upstream


async def test_a_client_that_has_left_is_forgotten_when_the_next_one_comes(
    converse: Converse, authority: Authority, server: ssl.SSLContext
) -> None:
    talk = await converse(upstream_tls=tls(authority), timeouts=PATIENT)
    (await asks(talk)).aborts()
    await (await talk.blue[0].accepts()).gets_cut_off()
    client = await asks(talk, get("/next"))
    upstream = await accepts(talk.blue[0], server)
    await upstream.gets(forwarded(get("/next")))
    await upstream.sends(answer("next"))
    await client.gets(answer("next"))


# --- where a response ends (RFC 9112 section 9.8) --------------------------------------------------------------

UNTIL_CLOSE = "HTTP/1.1 200 OK\n\n"


async def responding(converse: Converse, authority: Authority, request: str) -> tuple[Peer, Secured]:
    """A client, and the upstream that is to answer it."""
    talk = await converse(upstream_tls=tls(authority))
    client = await asks(talk, request)
    upstream = await accepts(talk.blue[0], serving(authority))
    await upstream.gets(forwarded(request))
    return client, upstream


async def test_a_response_until_the_close_is_complete_with_a_close_notify(
    converse: Converse, authority: Authority
) -> None:
    client, upstream = await responding(converse, authority, get())
    await upstream.sends(UNTIL_CLOSE + "hello")
    await client.gets("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n")
    await upstream.says_goodbye()
    await client.gets("0\n\n")
    await upstream._peer.gets_cut_off()


async def test_to_http_1_0_it_is_complete_with_a_clean_end(converse: Converse, authority: Authority) -> None:
    client, upstream = await responding(converse, authority, get(version="1.0"))
    await upstream.sends(UNTIL_CLOSE + "hello")
    await upstream.says_goodbye()
    assert (await client.gets_until(b"hello")).startswith(b"HTTP/1.1 200 OK\r\n")
    await client.gets_end()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("end", [Peer.half_closes, Peer.closes, Peer.aborts])
async def test_without_a_close_notify_it_is_cut_off(
    converse: Converse, authority: Authority, version: str, end: Callable[[Peer], None]
) -> None:
    """Whoever can end a TCP connection could else shorten what TLS protects."""
    client, upstream = await responding(converse, authority, get(version=version))
    await upstream.sends(UNTIL_CLOSE + "hello")
    await client.gets_until(b"hello")
    end(upstream)
    assert b"0\r\n\r\n" not in await client.gets_abort()


RESPONSES = pytest.mark.parametrize(
    "response",
    [
        "HTTP/1.1 200 OK\nContent-Length: 10\n\nhello",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\na\nhello",
    ],
)


@RESPONSES
@pytest.mark.parametrize("goodbye", [False, True])
async def test_what_lacks_a_part_is_cut_off_however_it_ends(
    converse: Converse, authority: Authority, response: str, goodbye: bool
) -> None:
    client, upstream = await responding(converse, authority, get())
    await upstream.sends(response)
    await client.gets_until(b"hello")
    if goodbye:
        await upstream.says_goodbye()
    else:
        upstream.half_closes()
    await client.gets_abort()


@pytest.mark.parametrize("goodbye", [False, True])
async def test_an_end_instead_of_a_response_is_no_response(
    converse: Converse, authority: Authority, goodbye: bool
) -> None:
    client, upstream = await responding(converse, authority, get())
    if goodbye:
        await upstream.says_goodbye()
    else:
        upstream.half_closes()
    assert (await client.gets_response()).status == 502


@pytest.mark.parametrize("goodbye", [False, True])
async def test_a_connection_with_tls_that_has_ended_is_not_used_again(
    converse: Converse, authority: Authority, server: ssl.SSLContext, goodbye: bool
) -> None:
    talk = await converse(upstream_tls=tls(authority))
    client = await asks(talk)
    for _ in range(2):
        upstream = await accepts(talk.blue[0], server)
        await upstream.gets(forwarded(get()))
        await upstream.sends(answer("hello"))
        await client.gets(answer("hello"))
        if goodbye:
            await upstream.says_goodbye()
        else:
            upstream.half_closes()
        await upstream._peer.gets_cut_off()
        await client.sends(get())
    last = await accepts(talk.blue[0], server)
    await last.gets(forwarded(get()))


async def test_an_answer_before_the_request_is_no_response(converse: Converse) -> None:
    talk = await converse(send_proxy=1)
    client = await asks(talk)
    upstream = await talk.blue[0].accepts()
    await upstream.sends(answer("for nobody"))
    assert (await client.gets_response()).status == 502


async def test_nor_is_one_with_the_end_of_the_handshake(
    converse: Converse, authority: Authority, server: ssl.SSLContext
) -> None:
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    talk = await converse(upstream_tls=tls(authority))
    client = await asks(talk)
    upstream = Secured(await talk.blue[0].accepts(), server)
    await upstream.shakes_hands(and_says=answer("for nobody").replace("\n", "\r\n").encode())
    assert (await client.gets_response()).status == 502
