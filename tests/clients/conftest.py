"""bgproxy with TLS in front of two versions of a site, once for each file of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from bgproxy.model import Certificate
from tests.clients.site import Site
from tests.support.certificates import Authority
from tests.support.running import Running, bgproxy

APP, OTHER = "app.example.com", "other.example.com"


@dataclass
class Front:
    """The listeners `secure`, `mutual` (which asks for certificates), `balanced` (PROXY protocol) and `local`."""

    directory: Path
    proxy: Running
    authority: Authority
    certificate: Certificate  # of app.example.com
    client: Certificate

    def port(self, listener: str) -> str:
        return self.proxy.addresses[listener].rpartition(":")[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    directory = tmp_path_factory.mktemp("front")
    authority, clients = Authority(directory), Authority(directory, "clients")
    pairs = [authority.issues(APP), authority.issues(OTHER)]
    tls = {"certificates": [asdict(pair) for pair in pairs]}
    listeners = [
        {"name": "secure", "bind": "127.0.0.1:0", "tls": tls},
        {"name": "mutual", "bind": "127.0.0.1:0", "tls": {**tls, "client_ca": clients.path}},
        {"name": "balanced", "bind": "127.0.0.1:0", "tls": tls, "proxy_protocol": True},
        {"name": "local", "bind": f"unix:{directory}/local.sock", "tls": tls},
    ]
    async with AsyncExitStack() as stack:
        blue, green = [await stack.enter_async_context(Site(version).served()) for version in ("v1", "v2")]
        pools = {
            "blue": {"version": "v1", "upstreams": [f"127.0.0.1:{blue.port}"]},
            "green": {"version": "v2", "upstreams": [f"127.0.0.1:{green.port}"]},
        }
        service = {
            "pools": pools,
            "health": {"path": "/version", "interval": "200ms"},
            "drain": {"timeout": "2s"},
        }
        config = {"listeners": listeners, "services": {"web": service}}
        proxy = await stack.enter_async_context(bgproxy(directory, config))
        for pool in pools:
            await proxy.until_healthy("web", pool)
        yield Front(directory, proxy, authority, pairs[0], clients.issues("somebody.example.com"))
