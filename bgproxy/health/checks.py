"""One probe of one upstream: http, tcp or command, each within one total timeout.

What is spoken over TLS to the upstream is probed over TLS, with the same authorities, name and
certificate. Never reuses a connection, never follows a redirect, never keeps a cookie, and reads a
bounded part of a body. Knows nothing of schedules and of what a result amounts to.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from bgproxy.config.address import UNIX_PREFIX, parse_address
from bgproxy.health.command import run_command
from bgproxy.health.thresholds import CheckResult
from bgproxy.tls.client import HTTP_ALPN, ClientContexts, server_name
from bgproxy.tls.pem import Unusable, explain

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

    from bgproxy.config.address import Address
    from bgproxy.model import HealthCheck, UpstreamTls

BODY_LIMIT_BYTES = 64 * 1024
RELOAD_S = 1.0  # authorities and certificates whose files changed are used after this at the latest
USER_AGENT = "bgproxy-health-check"


class Checker:
    """Performs checks, any number at once; the caller bounds it. Belongs to the loop that first used it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts = ClientContexts()
        self._contexts_looked_at = time.monotonic()

    async def run(
        self, address: str, check: HealthCheck, tls: UpstreamTls | None = None, name: str = ""
    ) -> CheckResult:
        """Probe `address` once. A probe that fails is a result; only a defect raises.

        `name` is the upstream's as configured, which its certificate is for; the address if left out.
        """
        started = time.perf_counter()
        try:
            async with asyncio.timeout(check.timeout_s) as limit:
                ok, reason = await self._probe(address, check, self._secured(check, tls, name or address))
        except (OSError, aiohttp.ClientError) as error:
            ok = False
            reason = f"timed out after {check.timeout_s:g}s" if limit.expired() else _explain(error)
        return CheckResult(ok, reason, time.perf_counter() - started)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # Private

    def _secured(self, check: HealthCheck, tls: UpstreamTls | None, name: str) -> _Secured | None:
        if tls is None or check.kind == "command":
            return None
        now = time.monotonic()
        if now - self._contexts_looked_at >= RELOAD_S:
            self._contexts_looked_at = now
            self._contexts.reload_changed()
        alpn = HTTP_ALPN if check.kind == "http" else ()
        return _Secured(self._contexts.context(tls, alpn), server_name(tls, name))

    async def _probe(self, address: str, check: HealthCheck, secured: _Secured | None) -> tuple[bool, str]:
        match check.kind:
            case "http" if address.startswith(UNIX_PREFIX):
                connector = _UnixConnector(address.removeprefix(UNIX_PREFIX), force_close=True)
                connector.secured = secured
                async with _session(connector) as session:
                    return await _request(session, "localhost", check, secured)
            case "http":
                if self._session is None:
                    self._session = _session(
                        aiohttp.TCPConnector(
                            force_close=True, limit=0, use_dns_cache=False, happy_eyeballs_delay=None
                        )
                    )
                return await _request(self._session, address, check, secured)
            case "tcp":
                return await _connect(parse_address(address), secured, check.timeout_s)
            case "command":
                return await run_command(check.command, address)
            case kind:
                raise ValueError(f"there is no health check of kind '{kind}': use http, tcp or command")


class _Secured(NamedTuple):
    """`name` is what the certificate has to be for."""

    context: ssl.SSLContext
    name: str


class _UnixConnector(aiohttp.UnixConnector):
    """aiohttp's own speaks no TLS."""

    secured: _Secured | None = None

    async def _create_connection(self, *request: Any) -> ResponseHandler:
        if self.secured is None:
            return await super()._create_connection(*request)
        _, protocol = await self._loop.create_unix_connection(
            self._factory, self.path, ssl=self.secured.context, server_hostname=self.secured.name
        )
        return protocol


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),  # none of its own: the probe as a whole has one
        headers={"User-Agent": USER_AGENT},
        skip_auto_headers=("Accept-Encoding",),
        auto_decompress=False,
    )


async def _request(
    session: aiohttp.ClientSession, authority: str, check: HealthCheck, secured: _Secured | None
) -> tuple[bool, str]:
    headers = CIMultiDict(check.headers)
    if check.host is not None:
        headers["Host"] = check.host
    url = URL(f"{'https' if secured else 'http'}://{authority}{check.path}", encoded=True)
    async with session.request(
        check.method,
        url,
        headers=headers,
        allow_redirects=False,
        ssl=secured.context if secured else True,
        server_hostname=secured.name if secured else None,
    ) as response:
        if response.status not in check.expect_status:
            return False, f"status {response.status}, expected {_ranges(check.expect_status)}"
        # Read without a pattern too: an answer that breaks off is not a healthy one, and a server
        # whose client goes away in mid-answer fills its log.
        body = await _read(response.content)
    if check.expect_body is not None and not re.search(check.expect_body, body.decode(errors="replace")):
        return False, f"body does not match '{check.expect_body}'"
    return True, f"status {response.status}"


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The first `BODY_LIMIT_BYTES`; the rest is dropped with the connection."""
    body = bytearray()
    while len(body) < BODY_LIMIT_BYTES and (piece := await content.read(BODY_LIMIT_BYTES - len(body))):
        body += piece
    return bytes(body)


async def _connect(address: Address, secured: _Secured | None, close_s: float) -> tuple[bool, str]:
    """`close_s` is how long an upstream may take to answer our goodbye."""
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {}
    if secured is not None:
        options = {
            "ssl": secured.context,
            "server_hostname": secured.name,
            "ssl_shutdown_timeout": close_s,
        }
    transport: asyncio.Transport
    if address.path:
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, address.path, **options)
    else:
        transport, _ = await loop.create_connection(asyncio.Protocol, address.host, address.port, **options)
    transport.close()
    return True, "connected" if secured is None else "connected over TLS"


def _ranges(statuses: tuple[int, ...]) -> str:
    """`200-299, 401` rather than a hundred numbers."""
    runs: list[list[int]] = []
    for status in sorted(set(statuses)):
        if runs and status == runs[-1][-1] + 1:
            runs[-1].append(status)
        else:
            runs.append([status])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _explain(error: OSError | aiohttp.ClientError) -> str:
    match error:
        case aiohttp.ClientOSError(__cause__=OSError() as cause):
            return _explain(cause)
        case ssl.SSLCertVerificationError():
            return f"its certificate is refused: {explain(error)}"
        case Unusable():
            return str(error)
        case ssl.SSLError():
            return f"TLS failed: {explain(error)}"
        case aiohttp.ServerDisconnectedError():
            return "connection closed before a response"
        case aiohttp.ClientPayloadError():
            return "connection closed in mid-response"
        case aiohttp.ClientResponseError():
            return "not a valid HTTP response"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
        case OSError(strerror=str(text)):  # of a name that does not resolve
            return text.lower()
        case _:
            return f"{type(error).__name__}: {error}"
