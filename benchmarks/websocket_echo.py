"""The backend of the WebSocket scenario: whatever a client sends comes back. Any other request gets 200.

python -m benchmarks.websocket_echo --port 9000
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
from typing import Final, cast

import uvloop

from benchmarks import websocket_frames as frames

BACKLOG: Final = 4096
_END: Final = b"\r\n\r\n"
_KEY: Final = re.compile(rb"\r\nsec-websocket-key:[ \t]*(\S+)[ \t]*\r\n", re.IGNORECASE)
_OK: Final = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


class Echo(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._data = b""
        self._is_upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while not self._is_upgraded:
            head, end, rest = self._data.partition(_END)
            if not end:
                return
            self._data = rest
            key = _KEY.search(head + b"\r\n")
            self._is_upgraded = key is not None
            self._transport.write(_OK if key is None else _SWITCHING % frames.accept(key[1]))
        try:
            payloads, self._data, is_over = frames.read_client(self._data)
        except frames.NotShort:
            self._transport.abort()  # the load counts it as a failure
            return
        if payloads:
            self._transport.write(b"".join(map(frames.from_server, payloads)))
        if is_over:
            self._transport.close()


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=BACKLOG)
    await ended.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.websocket_echo", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
