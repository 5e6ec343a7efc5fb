"""A headless Chromium, told what to do over its DevTools protocol, as much of that as a test needs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from websockets.asyncio.client import ClientConnection, connect

from tests.clients.programs import ENVIRON, PATIENCE_S, program

_ANNOUNCEMENT = b"DevTools listening on "


class Page:
    """One tab."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._ids = itertools.count(1)
        self._session: str | None = None

    async def open(self, url: str) -> None:
        """Returns when the page and what is in it have been loaded."""
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self._call("Page.enable")
        went = await self._call("Page.navigate", url=url)
        assert "errorText" not in went, f"{url}: {went['errorText']}"
        await self._until("Page.loadEventFired")

    async def says(self, expression: str) -> Any:
        """The value of JavaScript, of a promise when it is kept."""
        answer = await self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Returns when this has become true in the page."""
        await self.says(
            f"""new Promise(done => {{
                const look = () => {{ if ({condition}) done(); else setTimeout(look, 10); }};
                look();
            }})"""
        )

    # Private

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        call = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            call["sessionId"] = self._session
        await self._devtools.send(json.dumps(call))
        message = await self._next(lambda message: message.get("id") == number)
        assert "error" not in message, f"{method}: {message['error']}"
        return dict(message["result"])

    async def _until(self, event: str) -> None:
        await self._next(lambda message: message.get("method") == event)

    async def _next(self, wanted: Any) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message: dict[str, Any] = json.loads(await self._devtools.recv())
                if wanted(message):
                    return message


@contextlib.asynccontextmanager
async def chromium(directory: Path, *, host: str, certificate: str) -> AsyncIterator[Page]:
    """`host` is this machine for it, and this certificate's key is the only one that it trusts untold."""
    process = await asyncio.create_subprocess_exec(
        program("chromium"),
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server"),
        *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"),
        f"--user-data-dir={directory}",
        f"--host-resolver-rules=MAP {host} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={_key_digest(certificate)}",
        *("--remote-debugging-port=0", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**ENVIRON, "HOME": str(directory)},
        start_new_session=True,
    )
    try:
        async with (
            asyncio.timeout(PATIENCE_S) as patience,
            connect(await _devtools_of(process), max_size=None, proxy=None) as devtools,
        ):
            patience.reschedule(None)
            yield Page(devtools)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


# Private


async def _devtools_of(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = []
    async for line in process.stderr:
        if line.startswith(_ANNOUNCEMENT):
            return line.removeprefix(_ANNOUNCEMENT).decode().strip()
        said.append(line.decode(errors="replace"))
    raise AssertionError(f"chromium has ended: {''.join(said)}")


def _key_digest(certificate: str) -> str:
    key = load_pem_x509_certificate(Path(certificate).read_bytes()).public_key()
    return b64encode(
        sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()
