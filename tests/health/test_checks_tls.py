"""Checks of upstreams that are spoken to over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bgproxy.health import checks
from bgproxy.health.checks import Checker
from bgproxy.health.thresholds import CheckResult
from bgproxy.model import Certificate, HealthCheck, ListenerTls, UpstreamTls
from bgproxy.tls.server import ServerContexts
from tests.support.certificates import Authority

from .doubles import Answering

FINE = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

Secured = Callable[[ListenerTls], Awaitable[str]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    checker = Checker()
    yield checker
    await checker.close()


@pytest.fixture
async def serve_tls() -> AsyncIterator[Secured]:
    """Starts a server with these settings and gives its address, which is 127.0.0.1."""
    servers: list[asyncio.Server] = []

    async def start(settings: ListenerTls) -> str:
        context = ServerContexts(settings).context
        server = await asyncio.start_server(FINE, "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=0.1)
        servers.append(server)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=["http", "tcp"])
def check(request: pytest.FixtureRequest) -> HealthCheck:
    return HealthCheck(kind=request.param, timeout_s=2.0)


def said(result: CheckResult) -> tuple[bool, str]:
    return result.ok, result.reason


async def test_an_upstream_is_verified_by_the_name_it_is_configured_with(
    checker: Checker, authority: Authority, serve_tls: Secured, check: HealthCheck
) -> None:
    """What is connected to is an address, to which the name was resolved."""
    address = await serve_tls(ListenerTls((authority.issues("app.internal"),)))
    tls = UpstreamTls(ca=authority.path)
    fine = "status 200" if check.kind == "http" else "connected over TLS"
    assert said(await checker.run(address, check, tls, "app.internal:8443")) == (True, fine)
    wrong = await checker.run(address, check, tls)
    assert not wrong.ok
    assert wrong.reason.startswith("its certificate is refused: IP address mismatch")
    other = await checker.run(address, check, UpstreamTls(ca=authority.path, server_name="app.internal"))
    assert said(other) == (True, fine)


@pytest.mark.parametrize(
    ("expired", "tls", "reason"),
    [
        (True, UpstreamTls(ca="ca.pem"), "its certificate is refused: certificate has expired"),
        (
            False,
            UpstreamTls(ca="other.pem"),
            "its certificate is refused: unable to get local issuer certificate",
        ),
        (False, UpstreamTls(ca="gone.pem"), "cannot be read: No such file or directory"),
    ],
)
async def test_why_an_upstream_is_not_trusted_is_the_reason(
    checker: Checker,
    authority: Authority,
    serve_tls: Secured,
    check: HealthCheck,
    expired: bool,
    tls: UpstreamTls,
    reason: str,
) -> None:
    Authority(authority.directory, "other")
    address = await serve_tls(ListenerTls((authority.issues("app.internal", expired=expired),)))
    tls = UpstreamTls(ca=str(authority.directory / str(tls.ca)))
    result = await checker.run(address, check, tls, "app.internal:443")
    assert not result.ok
    assert result.reason.endswith(reason)


async def test_without_verification_any_certificate_will_do(
    checker: Checker, authority: Authority, serve_tls: Secured, check: HealthCheck
) -> None:
    address = await serve_tls(ListenerTls((authority.issues("other.internal", expired=True),)))
    assert (await checker.run(address, check, UpstreamTls(verify=False))).ok


async def test_our_certificate_is_shown_to_an_upstream_that_wants_one(
    checker: Checker, authority: Authority, serve_tls: Secured
) -> None:
    settings = ListenerTls((authority.issues("app.internal"),), client_ca=authority.path)
    address = await serve_tls(settings)
    ours: Certificate = authority.issues("proxy.internal")
    name = "app.internal:443"
    known = UpstreamTls(ca=authority.path, certificate=ours)
    assert (await checker.run(address, HealthCheck(), known, name)).ok
    unknown = await checker.run(address, HealthCheck(), UpstreamTls(ca=authority.path), name)
    assert said(unknown) == (False, "TLS failed: tlsv13 alert certificate required")


async def test_an_upstream_that_speaks_no_tls_is_not_healthy(
    checker: Checker, authority: Authority, check: HealthCheck
) -> None:
    server = await asyncio.start_server(FINE, "127.0.0.1", 0)
    try:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await checker.run(
            address, HealthCheck(kind=check.kind, timeout_s=0.2), UpstreamTls(ca=authority.path)
        )
        assert not result.ok
    finally:
        server.close()


async def test_a_unix_socket_may_speak_tls_too(
    checker: Checker, authority: Authority, check: HealthCheck, tmp_path: Path
) -> None:
    context = ServerContexts(ListenerTls((authority.issues("localhost"),))).context
    path = tmp_path / "app.sock"
    server = await asyncio.start_unix_server(FINE, path, ssl=context, ssl_shutdown_timeout=0.1)
    try:
        assert (await checker.run(f"unix:{path}", check, UpstreamTls(ca=authority.path))).ok
        refused = await checker.run(f"unix:{path}", check, UpstreamTls(ca=authority.path, server_name="x"))
        assert refused.reason.startswith("its certificate is refused: Hostname mismatch")
    finally:
        server.close()


async def test_changed_authorities_are_asked_without_a_restart(
    checker: Checker,
    authority: Authority,
    serve_tls: Secured,
    check: HealthCheck,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "RELOAD_S", 0.0)
    address = await serve_tls(ListenerTls((authority.issues("app.internal"),)))
    tls = UpstreamTls(ca=authority.path)
    assert (await checker.run(address, check, tls, "app.internal:443")).ok
    Authority(authority.directory)  # takes the file's place
    assert not (await checker.run(address, check, tls, "app.internal:443")).ok


async def test_a_command_checks_as_it_likes(checker: Checker) -> None:
    check = HealthCheck(kind="command", command=("/bin/true",))
    assert (await checker.run("127.0.0.1:1", check, UpstreamTls(ca="/gone.pem"))).ok


def test_http_is_offered_where_http_is_spoken() -> None:
    """Servers that speak something else refuse a client that offers nothing but HTTP."""
    checker = Checker()
    tls = UpstreamTls(verify=False)
    http = checker._secured(HealthCheck(kind="http"), tls, "a:1")
    tcp = checker._secured(HealthCheck(kind="tcp"), tls, "a:1")
    assert http is not None
    assert tcp is not None
    assert isinstance(http.context, ssl.SSLContext)
    assert http.context is not tcp.context
