"""The same ledger through TLS: cutovers, and certificates that are replaced meanwhile, are noticed by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import uvloop

from bgproxy.demo.ledger import Outcome
from bgproxy.demo.load import TLS_NAME, Load
from tests.support.certificates import Authority
from tests.support.running import PATIENCE_S
from tests.support.scene import Scene, assert_nothing_lost, scene

SWITCHES = 30
CLIENTS = 64


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The clients are in the test's own loop, and should be worth the name of a load."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.asynccontextmanager
async def tls_scene(directory: Path, authority: Authority) -> AsyncIterator[Scene]:
    certificate = asdict(authority.issues(TLS_NAME))
    public = {"name": "public", "bind": "127.0.0.1:0", "tls": {"certificates": [certificate]}}
    async with scene(directory, listeners=[public]) as here:
        yield here


@contextlib.asynccontextmanager
async def load(
    here: Scene, authority: Authority, *, clients: int = CLIENTS, think_s: float = 0.0
) -> AsyncIterator[Load]:
    """Kept-alive clients, half POST; the books are complete afterwards, but for the apps' journals."""
    clients_of_it = Load(
        port(here),
        lambda request: here.ledger.add([request]),
        authority=Path(authority.path),
        clients=clients,
        think_s=think_s,
    )
    clients_of_it.start()
    try:
        await here.until_answered(clients)
        yield clients_of_it
    finally:
        await clients_of_it.stop()


def port(here: Scene) -> int:
    return int(here.proxy.addresses["public"].rpartition(":")[2])


async def serial_number(here: Scene, authority: Authority) -> str:
    """Of the certificate that a new client is shown, who trusts it."""
    context = ssl.create_default_context(cafile=authority.path)
    _, writer = await asyncio.open_connection("127.0.0.1", port(here), ssl=context, server_hostname=TLS_NAME)
    try:
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.transport.abort()


async def until_shown(here: Scene, authority: Authority, other_than: set[str]) -> str:
    """The new certificate, once as many connections in a row are shown it as reach every worker."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            shown = {await serial_number(here, authority) for _ in range(16)}
            if len(shown) == 1 and not shown & other_than:
                return shown.pop()


async def test_switches_under_load_through_tls_lose_nothing(tmp_path: Path, authority: Authority) -> None:
    async with tls_scene(tmp_path, authority) as here:
        async with load(here, authority):
            for _ in range(SWITCHES):
                await asyncio.sleep(random.uniform(0, 0.1))
                await here.change()
            await here.until_answered(CLIENTS)
        ledger = await here.end_load()
        assert_nothing_lost(ledger)
        assert {"v1", "v2"} <= set(ledger.per_version(ledger.requests))
        assert sum(request.method == "POST" for request in ledger.requests) > len(ledger.requests) // 3


async def test_certificates_replaced_under_load_are_noticed_by_new_connections_only(
    tmp_path: Path, authority: Authority
) -> None:
    """Also while the files do not belong together: the certificate is written before its key."""
    async with tls_scene(tmp_path, authority) as here:
        shown = {await serial_number(here, authority)}
        async with load(here, authority, think_s=0.01) as clients:
            async with asyncio.timeout(PATIENCE_S):
                while not all(client._transport for client in clients._clients):
                    await asyncio.sleep(0.01)
            transports = [client._transport for client in clients._clients]
            for _ in range(3):
                authority.issues(TLS_NAME)
                await here.change()
                shown.add(await until_shown(here, authority, shown))
                await here.until_answered(CLIENTS)
            assert [client._transport for client in clients._clients] == transports, "somebody reconnected"
        assert len(shown) == 4
        assert_nothing_lost(await here.end_load())


async def test_clients_that_do_not_trust_the_certificate_are_failures_in_the_books(
    tmp_path: Path, authority: Authority
) -> None:
    """The clients would be no witnesses if they took any certificate for the right one."""
    async with tls_scene(tmp_path, authority) as here:
        async with load(here, Authority(tmp_path, "another"), clients=2):
            pass
        ledger = await here.end_load()
        assert {request.outcome for request in ledger.requests} == {Outcome.REFUSED}
        assert ledger.errors()
