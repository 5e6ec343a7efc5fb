"""One probe of one upstream: http, tcp or command, each within one total timeout.

Never reuses a connection, never follows a redirect, never keeps a cookie, and reads a bounded part
of a body. Knows nothing of schedules and of what a result amounts to.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from bgproxy.config.address import UNIX_PREFIX, parse_address
from bgproxy.health.command import run_command
from bgproxy.health.thresholds import CheckResult

if TYPE_CHECKING:
    from bgproxy.config.address import Address
    from bgproxy.model import HealthCheck

BODY_LIMIT_BYTES = 64 * 1024
USER_AGENT = "bgproxy-health-check"


class Checker:
    """Performs checks, any number at once; the caller bounds it. Belongs to the loop that first used it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def run(self, address: str, check: HealthCheck) -> CheckResult:
        """Probe `address` once. A probe that fails is a result; only a defect raises."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(check.timeout_s) as limit:
                ok, reason = await self._probe(address, check)
        except (OSError, aiohttp.ClientError) as error:
            ok = False
            reason = f"timed out after {check.timeout_s:g}s" if limit.expired() else _explain(error)
        return CheckResult(ok, reason, time.perf_counter() - started)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # Private

    async def _probe(self, address: str, check: HealthCheck) -> tuple[bool, str]:
        match check.kind:
            case "http" if address.startswith(UNIX_PREFIX):
                path = address.removeprefix(UNIX_PREFIX)
                async with _session(aiohttp.UnixConnector(path, force_close=True)) as session:
                    return await _request(session, "localhost", check)
            case "http":
                if self._session is None:
                    self._session = _session(
                        aiohttp.TCPConnector(
                            force_close=True, limit=0, use_dns_cache=False, happy_eyeballs_delay=None
                        )
                    )
                return await _request(self._session, address, check)
            case "tcp":
                return await _connect(parse_address(address))
            case "command":
                return await run_command(check.command, address)
            case kind:
                raise ValueError(f"there is no health check of kind '{kind}': use http, tcp or command")


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),  # none of its own: the probe as a whole has one
        headers={"User-Agent": USER_AGENT},
        skip_auto_headers=("Accept-Encoding",),
        auto_decompress=False,
    )


async def _request(session: aiohttp.ClientSession, authority: str, check: HealthCheck) -> tuple[bool, str]:
    headers = CIMultiDict(check.headers)
    if check.host is not None:
        headers["Host"] = check.host
    url = URL(f"http://{authority}{check.path}", encoded=True)
    async with session.request(check.method, url, headers=headers, allow_redirects=False) as response:
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


async def _connect(address: Address) -> tuple[bool, str]:
    loop = asyncio.get_running_loop()
    transport: asyncio.Transport
    if address.path:
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, address.path)
    else:
        transport, _ = await loop.create_connection(asyncio.Protocol, address.host, address.port)
    transport.close()
    return True, "connected"


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
        case aiohttp.ClientConnectorError():
            return _explain(error.os_error)
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
