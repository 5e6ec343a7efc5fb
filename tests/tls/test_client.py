from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from bgproxy.model import ListenerTls, UpstreamTls
from bgproxy.tls.client import ClientContexts, server_name
from bgproxy.tls.pem import Unusable
from bgproxy.tls.server import ServerContexts
from tests.support.certificates import Authority

from .ends import listening


@pytest.mark.parametrize(
    ("settings", "upstream", "name"),
    [
        (UpstreamTls(), "api.internal:8443", "api.internal"),
        (UpstreamTls(), "10.0.0.1:443", "10.0.0.1"),
        (UpstreamTls(), "[2001:db8::1]:443", "2001:db8::1"),
        (UpstreamTls(), "unix:/run/app.sock", "localhost"),
        (UpstreamTls(server_name="other.internal"), "10.0.0.1:443", "other.internal"),
    ],
)
def test_the_certificate_has_to_be_for_the_upstream_as_it_is_configured(
    settings: UpstreamTls, upstream: str, name: str
) -> None:
    assert server_name(settings, upstream) == name


@pytest.mark.parametrize(("name", "asked"), [("app.internal", "app.internal"), ("127.0.0.1", None)])
async def test_a_name_is_asked_for_and_an_address_is_only_verified(
    authority: Authority, name: str, asked: str | None
) -> None:
    heard: list[str | None] = []
    pair = authority.issues("app.internal", "127.0.0.1")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert, pair.key)
    server.sni_callback = lambda _connection, said, _context: heard.append(said)
    async with listening(server) as at:
        end = await at.connects(ClientContexts().context(UpstreamTls(ca=authority.path)), name)
        end.transport.abort()
        await end.ends()
    assert heard == [asked]


@pytest.mark.parametrize(
    ("served", "expired", "name", "said"),
    [
        ("app.internal", False, "other.internal", "Hostname mismatch"),
        ("127.0.0.2", False, "127.0.0.1", "IP address mismatch"),
        ("app.internal", True, "app.internal", "certificate has expired"),
    ],
)
async def test_a_certificate_for_another_name_or_time_is_refused(
    authority: Authority, served: str, expired: bool, name: str, said: str
) -> None:
    server = ServerContexts(ListenerTls((authority.issues(served, expired=expired),)))
    async with listening(server.context) as at:
        with pytest.raises(ssl.SSLCertVerificationError, match=said):
            await at.connects(ClientContexts().context(UpstreamTls(ca=authority.path)), name)


@pytest.mark.parametrize("own", [False, True], ids=["the system's", "another"])
async def test_a_certificate_of_an_authority_that_is_not_trusted_is_refused(
    authority: Authority, tmp_path: Path, own: bool
) -> None:
    server = ServerContexts(ListenerTls((authority.issues("app.internal"),)))
    settings = UpstreamTls(ca=Authority(tmp_path, "another").path if own else None)
    async with listening(server.context) as at:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed"):
            await at.connects(ClientContexts().context(settings), "app.internal")


async def test_without_verification_anything_is_accepted(authority: Authority) -> None:
    server = ServerContexts(ListenerTls((authority.issues("other.internal", expired=True),)))
    async with listening(server.context) as at:
        end = await at.connects(ClientContexts().context(UpstreamTls(verify=False)), "app.internal")
        assert end.tls.selected_alpn_protocol() == "http/1.1"
        end.transport.abort()
        await end.ends()


async def test_an_upstream_that_wants_to_know_us_gets_our_certificate(authority: Authority) -> None:
    server = ServerContexts(ListenerTls((authority.issues("app.internal"),), client_ca=authority.path))
    contexts = ClientContexts()
    known = UpstreamTls(ca=authority.path, certificate=authority.issues("proxy.internal"))
    async with listening(server.context) as at:
        client, upstream = await at.pair(contexts.context(known), "app.internal")
        assert upstream.peer_names == ["proxy.internal"]
        client.transport.abort()
        await client.ends()
        stranger = await at.connects(contexts.context(UpstreamTls(ca=authority.path)), "app.internal")
        await stranger.ends()
        assert not at.ends[-1].is_made


def test_services_with_equal_settings_share_a_context(authority: Authority) -> None:
    """Their names are no part of it: each of a hundred services may have one of its own."""
    contexts = ClientContexts()
    one = contexts.context(UpstreamTls(ca=authority.path, server_name="a.internal"))
    assert contexts.context(UpstreamTls(ca=authority.path, server_name="b.internal")) is one
    assert contexts.context(UpstreamTls(ca=authority.path), alpn=()) is not one
    assert contexts.context(UpstreamTls(verify=False)) is not one


async def test_changed_authorities_are_asked_from_then_on_and_broken_ones_never(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contexts = ClientContexts()
    settings = UpstreamTls(ca=authority.path)
    before = contexts.context(settings)
    assert contexts.reload_changed() == []

    Path(authority.path).write_text("-----BEGIN CERTIFICATE-----\nhalf")
    assert contexts.reload_changed() == []
    assert contexts.context(settings) is before
    assert "ca.pem has a certificate that cannot be read" in caplog.text

    Authority(tmp_path)  # takes the file's place
    assert contexts.reload_changed() == [authority.path]
    server = ServerContexts(ListenerTls((authority.issues("app.internal"),)))
    async with listening(server.context) as at:
        with pytest.raises(ssl.SSLCertVerificationError):
            await at.connects(contexts.context(settings), "app.internal")


def test_files_that_are_gone_end_an_attempt_to_connect_as_any_other_error_does(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"gone\.pem cannot be read: No such file"):
        ClientContexts().context(UpstreamTls(ca=str(tmp_path / "gone.pem")))
    assert issubclass(Unusable, OSError)
