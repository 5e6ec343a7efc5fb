from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from bgproxy.model import Certificate, ListenerTls
from bgproxy.tls.pem import Unusable
from bgproxy.tls.server import ServerContexts
from tests.support.certificates import Authority

from .ends import End, Listening, listening, trusting


async def names_served(at: Listening, client: ssl.SSLContext, name: str = "") -> list[str]:
    end = await at.connects(client, name)
    names = end.peer_names
    await closes(end)
    return names


async def closes(end: End) -> None:
    end.transport.abort()
    await end.ends()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("", "first.example"),
        ("first.example", "first.example"),
        ("second.example", "second.example"),
        ("SECOND.example", "second.example"),
        ("third.example", "second.example"),
        ("any.wild.example", "*.wild.example"),
        ("exact.wild.example", "exact.wild.example"),
        ("two.labels.wild.example", "first.example"),
        ("wild.example", "first.example"),
        ("unknown.example", "first.example"),
    ],
)
async def test_the_name_that_is_asked_for_chooses_the_certificate(
    authority: Authority, asked: str, served: str, version: ssl.TLSVersion
) -> None:
    contexts = ServerContexts(
        ListenerTls(
            (
                authority.issues("first.example"),
                authority.issues("second.example", "third.example"),
                authority.issues("*.wild.example"),
                authority.issues("exact.wild.example"),
            )
        )
    )
    client = trusting(authority.path)
    client.maximum_version = version
    async with listening(contexts.context) as at:
        assert served in await names_served(at, client, asked)


async def test_a_certificate_is_needed_from_a_client_where_it_is_required(
    authority: Authority, tmp_path: Path
) -> None:
    contexts = ServerContexts(ListenerTls((authority.issues("a.example"),), client_ca=authority.path))
    ours, nobody, foreign = (trusting(authority.path) for _ in range(3))
    ours.load_cert_chain(*pair_of(authority.issues("me.example")))
    foreign.load_cert_chain(*pair_of(Authority(tmp_path, "foreign").issues("them.example")))
    async with listening(contexts.context) as at:
        client, server = await at.pair(ours)
        client.transport.write(b"hello")
        await server.gets(b"hello")
        assert server.peer_names == ["me.example"]
        await closes(client)
        for stranger in (nobody, foreign):
            client = await at.connects(stranger)  # TLS 1.3: a client hears of it after its own handshake
            await client.ends()
            assert not at.ends[-1].is_made, "the protocol has met a client that is not let in"


async def test_an_optional_certificate_may_be_left_out_but_not_be_foreign(
    authority: Authority, tmp_path: Path
) -> None:
    settings = ListenerTls((authority.issues("a.example"),), client_ca=authority.path, client_required=False)
    foreign = trusting(authority.path)
    foreign.load_cert_chain(*pair_of(Authority(tmp_path, "foreign").issues("them.example")))
    async with listening(ServerContexts(settings).context) as at:
        client, server = await at.pair(trusting(authority.path))
        assert not server.transport.get_extra_info("peercert")
        await closes(client)
        await (await at.connects(foreign)).ends()
        assert not at.ends[-1].is_made


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@pytest.mark.parametrize(
    ("least", "spoken", "refused"),
    [
        ("1.2", ssl.TLSVersion.TLSv1_2, False),
        ("1.2", ssl.TLSVersion.TLSv1_1, True),
        ("1.3", ssl.TLSVersion.TLSv1_3, False),
        ("1.3", ssl.TLSVersion.TLSv1_2, True),
    ],
)
async def test_an_older_version_than_the_least_one_is_refused(
    authority: Authority, least: str, spoken: ssl.TLSVersion, refused: bool
) -> None:
    contexts = ServerContexts(ListenerTls((authority.issues("a.example"),), min_version=least))
    client = trusting(authority.path)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")  # which TLS 1.1 needs
    client.minimum_version = client.maximum_version = spoken
    async with listening(contexts.context) as at:
        if refused:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await at.connects(client)
            assert not at.ends[-1].is_made
        else:
            await closes(await at.connects(client))


@pytest.mark.parametrize(
    ("offered", "asked", "agreed"),
    [
        (("http/1.1",), ["h2", "http/1.1"], "http/1.1"),
        (("h2", "http/1.1"), ["http/1.1", "h2"], "h2"),
        (("http/1.1",), [], None),
        ((), ["h2"], None),
    ],
)
async def test_the_protocol_is_agreed_on_in_the_order_of_the_listener(
    authority: Authority, offered: tuple[str, ...], asked: list[str], agreed: str | None
) -> None:
    contexts = ServerContexts(
        ListenerTls((authority.issues("a.example"), authority.issues("b.example")), alpn=offered)
    )
    client = trusting(authority.path)
    if asked:
        client.set_alpn_protocols(asked)
    async with listening(contexts.context) as at:
        for name in ("a.example", "b.example"):
            end = await at.connects(client, name)
            assert end.tls.selected_alpn_protocol() == agreed
            await closes(end)


def test_nothing_is_renegotiated_or_compressed_and_the_server_orders_the_ciphers(
    authority: Authority,
) -> None:
    options = ServerContexts(ListenerTls((authority.issues("a.example"),))).context.options
    for wanted in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_CIPHER_SERVER_PREFERENCE):
        assert options & wanted


async def test_a_changed_certificate_is_for_new_connections_and_old_ones_go_on(
    authority: Authority,
) -> None:
    contexts = ServerContexts(
        ListenerTls((authority.issues("default.example"), authority.issues("old.example", file="other")))
    )
    before = contexts.context
    client = trusting(authority.path)
    async with listening(before) as at:
        assert contexts.reload_changed() == []
        living, server = await at.pair(client, "old.example")
        pair = authority.issues("new.example", file="other")
        assert contexts.reload_changed() == [pair.cert, pair.key]
        assert contexts.reload_changed() == []

        assert await names_served(at, client, "new.example") == ["new.example"]
        assert await names_served(at, client, "old.example") == ["default.example"]
        assert contexts.context is before, "who accepts need not accept anew for the sake of another"
        server.transport.write(b"still here")
        await living.gets(b"still here")
        await closes(living)


async def test_a_changed_default_certificate_is_served_by_who_accepts_as_before(authority: Authority) -> None:
    contexts = ServerContexts(ListenerTls((authority.issues("old.example", file="default"),)))
    before = contexts.context
    async with listening(before) as at:
        authority.issues("new.example", file="default")
        contexts.reload_changed()
        assert await names_served(at, trusting(authority.path)) == ["new.example"]
    assert contexts.context is not before


async def test_a_half_written_pair_is_said_once_and_the_old_one_stays_until_it_is_whole(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    contexts = ServerContexts(
        ListenerTls((authority.issues("old.example", file="one"), authority.issues("two.example")))
    )
    client = trusting(authority.path)
    async with listening(contexts.context) as at:
        coming = authority.issues("new.example", file="coming")
        shutil.copy(coming.cert, Path(coming.cert).with_name("one.pem"))
        for _ in range(3):
            assert contexts.reload_changed() == []
        assert await names_served(at, client) == ["old.example"]
        [said] = caplog.records
        assert said.levelno == logging.ERROR
        assert "one.key has a key that does not belong to the certificate in" in said.message

        authority.issues("two.example")
        assert len(contexts.reload_changed()) == 2, "one that is broken keeps another from it"

        shutil.copy(coming.key, Path(coming.key).with_name("one.key"))
        assert len(contexts.reload_changed()) == 2
        assert await names_served(at, client) == ["new.example"]
        assert len(caplog.records) == 1


async def test_a_session_does_not_outlive_the_authority_that_let_the_client_in(
    authority: Authority, tmp_path: Path
) -> None:
    """Authorities are not asked when a session is resumed, and tickets are renewed with every use."""
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    clients = tmp_path / "clients.pem"
    shutil.copy(first.path, clients)
    contexts = ServerContexts(ListenerTls((authority.issues("a.example"),), client_ca=str(clients)))
    client = trusting(authority.path)
    client.load_cert_chain(*pair_of(first.issues("me.example")))
    async with listening(contexts.context) as at:
        reused, session = await asyncio.to_thread(resumes, at.port, client, None)
        assert not reused
        reused, session = await asyncio.to_thread(resumes, at.port, client, session)
        assert reused
    shutil.copy(second.path, clients)
    assert contexts.reload_changed() == [str(clients)]
    async with listening(contexts.context) as at:
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(resumes, at.port, client, session)


def resumes(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool | None, ssl.SSLSession | None]:
    """TLS 1.2 has its ticket at the end of the handshake."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, session=session) as tls,
    ):
        return tls.session_reused, tls.session


def test_files_that_cannot_be_used_are_refused_at_the_start(authority: Authority) -> None:
    a, b = authority.issues("a.example"), authority.issues("b.example")
    with pytest.raises(Unusable, match="does not belong"):
        ServerContexts(ListenerTls((a, Certificate(b.cert, a.key))))


def pair_of(certificate: Certificate) -> tuple[str, str]:
    return certificate.cert, certificate.key
