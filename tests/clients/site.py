"""What stands behind the proxy for clients that others have written: one side, with all that a web site does."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import zlib
from collections.abc import AsyncIterator
from hashlib import sha256

from aiohttp import WSMsgType, web

FILE = bytes(range(256)) * 16 * 1024  # 4 MiB
FILE_DIGEST = sha256(FILE).hexdigest()
PIECES = [b"one\n", b"two\n", b"three\n"]
EVENT_S = 0.05  # between two events

# Polls /version as fast as it can, and keeps a WebSocket and a stream of events open.
PAGE = """<!doctype html>
<title>bgproxy</title>
<img id="image" src="/image.png">
<script>
const events = [], echoes = [], versions = [], failures = [];
let closed = null, polling = true;

const source = new EventSource("/events");
const socket = new WebSocket(`wss://${location.host}/echo`);
const first = (target, kind) => new Promise(done => target.addEventListener(kind, done, {once: true}));
source.addEventListener("message", event => events.push(event.data));
source.addEventListener("error", () => failures.push("events"));
socket.addEventListener("message", event => echoes.push(event.data));
socket.addEventListener("close", event => { closed = {code: event.code, clean: event.wasClean}; });

async function echo(text) {
    const answer = first(socket, "message");
    socket.send(text);
    return (await answer).data;
}

async function everything() {
    const image = document.getElementById("image");
    await image.decode();
    const posted = await fetch("/digest", {method: "POST", body: "x".repeat(100000)});
    if (socket.readyState === WebSocket.CONNECTING) await first(socket, "open");
    while (events.length < 3) await first(source, "message");
    return {
        image: [image.naturalWidth, image.naturalHeight],
        posted: [posted.status, await posted.text()],
        echo: await echo("grüße"),
        events: events.slice(0, 3),
        protocols: [...new Set(performance.getEntriesByType("resource").map(each => each.nextHopProtocol))],
        failures,
    };
}

async function poll() {
    while (polling) {
        try {
            const answer = await fetch("/version", {cache: "no-store"});
            if (!answer.ok) throw new Error(`status ${answer.status}`);
            versions.push(await answer.text());
        } catch (error) {
            failures.push(String(error));
        }
    }
}
</script>
"""


def image(width: int, height: int) -> bytes:
    """A black PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\0" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class Site:
    """One version of it. `port` is where it listens, as soon as it is served."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.port = 0
        self._app = web.Application(client_max_size=1 << 30)
        self._app.add_routes(
            [
                web.get("/", self._page),
                web.get("/version", self._version),
                web.get("/about", self._about),
                web.route("*", "/digest", self._digest),
                web.post("/too-large", self._too_large, expect_handler=self._too_large),
                web.get("/file", self._file),
                web.get("/pieces", self._pieces),
                web.get("/image.png", self._image),
                web.get("/events", self._events),
                web.get("/echo", self._echo),
            ]
        )

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Site]:
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    # Private

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _version(self, _: web.Request) -> web.Response:
        return web.Response(text=self.version)

    async def _about(self, request: web.Request) -> web.Response:
        """What came in, as this side has seen it."""
        fields = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"method": request.method, "fields": fields})

    async def _digest(self, request: web.Request) -> web.Response:
        digest = sha256()
        size = 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            size += len(piece)
        framing = request.headers.get("Transfer-Encoding", "counted")
        return web.Response(text=f"{request.method} {framing} {size} {digest.hexdigest()}")

    async def _too_large(self, _: web.Request) -> web.Response:
        return web.Response(status=413, text="no", headers={"Connection": "close"})

    async def _file(self, request: web.Request) -> web.Response:
        part = request.http_range
        if part.start is None and part.stop is None:
            return web.Response(body=FILE, headers={"Accept-Ranges": "bytes"})
        start, stop, _ = part.indices(len(FILE))
        fields = {"Content-Range": f"bytes {start}-{stop - 1}/{len(FILE)}"}
        return web.Response(status=206, body=FILE[part], headers=fields)

    async def _pieces(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in PIECES:
            await response.write(piece)
        return response

    async def _image(self, _: web.Request) -> web.Response:
        return web.Response(body=image(3, 2), content_type="image/png")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        number = 0
        with contextlib.suppress(ConnectionResetError):
            while True:
                number += 1
                await response.write(b"data: %d of %b\n\n" % (number, self.version.encode()))
                await asyncio.sleep(EVENT_S)
        return response

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket
