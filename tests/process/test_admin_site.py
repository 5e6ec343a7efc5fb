from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from bgproxy.cli.client import Client
from bgproxy.cli.target import Identity, parse_target
from bgproxy.model import ListenerTls
from bgproxy.process import admin_site
from bgproxy.process.admin_site import AdminSite
from bgproxy.tls.pem import Unusable
from tests.support.certificates import Authority
from tests.support.running import bgproxy

PATIENCE_S = 5.0


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Serving:
    def __init__(self, site: AdminSite, port: int) -> None:
        self.site = site
        self.port = port

    async def answers(self, context: ssl.SSLContext | None = None) -> list[str]:
        """The names of the certificate with which a new connection was answered; none without TLS."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: admin\r\n\r\n")
            line = await reader.readline()
            if line != b"HTTP/1.1 200 OK\r\n":
                raise ConnectionResetError(f"{line!r} instead of an answer")
            certificate = writer.get_extra_info("peercert")
            return [name for _, name in certificate["subjectAltName"]] if certificate else []
        finally:
            writer.transport.abort()


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        site = AdminSite(runner, sock)
        yield Serving(site, sock.getsockname()[1])
        site.close()
        await runner.cleanup()


@pytest.fixture
async def watching(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serving]:
    """Looks at the files all the time."""
    monkeypatch.setattr(admin_site, "RELOAD_S", 0.005)
    task = asyncio.create_task(serving.site.watch())
    yield serving
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    context.check_hostname = False
    return context


async def test_tls_begins_and_ends_with_a_reload(serving: Serving, authority: Authority) -> None:
    await serving.site.follow(None)
    assert await serving.answers() == []
    await serving.site.follow(ListenerTls((authority.issues("127.0.0.1"),)))
    assert await serving.answers(trusting(authority)) == ["127.0.0.1"]
    with pytest.raises(OSError):
        await serving.answers()
    await serving.site.follow(None)
    assert await serving.answers() == []


async def test_files_that_cannot_be_used_change_nothing(serving: Serving, authority: Authority) -> None:
    await serving.site.follow(None)
    pair = authority.issues("127.0.0.1")
    Path(pair.key).write_text("gone")
    with pytest.raises(Unusable, match="has no key"):
        await serving.site.follow(ListenerTls((pair,)))
    assert await serving.answers() == []


async def test_a_changed_certificate_is_served_without_a_reload(
    watching: Serving, authority: Authority
) -> None:
    await watching.site.follow(ListenerTls((authority.issues("old.example", file="admin"),)))
    assert await watching.answers(trusting(authority)) == ["old.example"]
    authority.issues("new.example", file="admin")
    async with asyncio.timeout(PATIENCE_S):
        while await watching.answers(trusting(authority)) != ["new.example"]:
            pass


async def test_operators_of_an_authority_that_was_removed_are_not_let_in(
    watching: Serving, authority: Authority, tmp_path: Path
) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    operators = tmp_path / "operators.pem"
    shutil.copy(first.path, operators)
    settings = ListenerTls((authority.issues("127.0.0.1"),), client_ca=str(operators))
    await watching.site.follow(settings)
    operator = trusting(authority)
    ours = first.issues("operator")
    operator.load_cert_chain(ours.cert, ours.key)
    assert await watching.answers(operator) == ["127.0.0.1"]
    with pytest.raises(OSError):
        await watching.answers(trusting(authority))
    shutil.copy(second.path, operators)
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(OSError):
            while True:
                await watching.answers(operator)


async def test_a_running_bgproxy_is_reached_over_mutual_tls(tmp_path: Path, authority: Authority) -> None:
    ours, theirs = authority.issues("operator"), authority.issues("127.0.0.1")
    config = {
        "admin": {
            "bind": "127.0.0.1:0",
            "tls": {"certificates": [{"cert": theirs.cert, "key": theirs.key}], "client_ca": authority.path},
        },
        "services": {"web": {"pools": {"blue": {}, "green": {}}}},
    }
    async with bgproxy(tmp_path, config) as proxy:
        client = Client(parse_target(f"https://{proxy.admin}"), identity=Identity(authority.path, ours))
        status = await asyncio.to_thread(client.status)
        assert [each["service"] for each in status["services"]] == ["web"]
        told = pytest.raises(ssl.SSLError, match=r"(?i)alert.certificate.required")
        with told, socket.create_connection(address(proxy.admin)) as plain:
            await asyncio.to_thread(asks_as_a_stranger, plain, authority)


def asks_as_a_stranger(plain: socket.socket, authority: Authority) -> None:
    plain.settimeout(PATIENCE_S)
    with ssl.create_default_context(cafile=authority.path).wrap_socket(
        plain, server_hostname="127.0.0.1"
    ) as tls:
        tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        if not tls.recv(1):
            raise ConnectionResetError("closed without an answer")


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("secured", [False, True])
async def test_connections_beyond_the_limit_are_closed_until_one_has_gone(
    serving: Serving,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    secured: bool,
) -> None:
    monkeypatch.setattr(admin_site, "CONNECTIONS", 2)
    context = None
    settings = None
    if secured:
        settings = ListenerTls((authority.issues("admin", "127.0.0.1"),))
        context = ssl.create_default_context(cafile=authority.path)
    await serving.site.follow(settings)
    silent = [await asyncio.open_connection("127.0.0.1", serving.port, ssl=context) for _ in range(2)]
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await serving.answers(context)
    assert caplog.text.count("turns connections away: it has 2") == 1
    silent[0][1].transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(ConnectionError):
                await serving.answers(context)
                break
    silent[1][1].transport.abort()


async def test_a_site_that_is_closed_accepts_nobody(serving: Serving) -> None:
    await serving.site.follow(None)
    await serving.answers()
    serving.site.close()
    waiting = asyncio.create_task(serving.answers())
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done  # in the queue of the socket, which the next controller inherits
    waiting.cancel()


async def test_handshakes_that_do_not_end_count_too(
    serving: Serving, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_site, "CONNECTIONS", 2)
    context = ssl.create_default_context(cafile=authority.path)
    await serving.site.follow(ListenerTls((authority.issues("admin", "127.0.0.1"),)))
    silent = [await asyncio.open_connection("127.0.0.1", serving.port) for _ in range(2)]
    with pytest.raises(ConnectionError):
        await serving.answers(context)
    for _, writer in silent:
        writer.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(ConnectionError):
                await serving.answers(context)
                break
