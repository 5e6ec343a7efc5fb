"""The app behind the proxy: answers of any length as fast as they are taken, uploads taken as slowly as asked.

    python -m benchmarks.memory.upstream [--cert c.pem --key k.pem]

`GET /large?bytes=N&chunked=1` is answered with N bytes. `POST /upload?rate=R&seconds=S` is read at R bytes a second for so
long, then at once, and answered with the number of bytes that came. Everything else is answered with `ok`. It says
where it listens, and ends at SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import uvloop

from benchmarks.memory import body
from benchmarks.memory.body import Pace

BACKLOG: Final = 1024
# What a slow reader leaves to its kernel is not what is measured.
RECEIVE_BUFFER_BYTES: Final = 64 * 1024
READ_AHEAD_BYTES: Final = 16 * 1024


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The requests of one connection."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # whoever leaves has left
        while True:
            await answer(await reader.readuntil(b"\r\n\r\n"), reader, writer)
    writer.close()


async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    method, target, _ = head.decode("latin-1").split(" ", 2)
    path, _, query = target.partition("?")
    given = dict(parse_qsl(query))
    if path == "/large":
        size_bytes, chunked = int(given["bytes"]), "chunked" in given
        writer.write(f"HTTP/1.1 200 OK\r\n{body.framing_field(size_bytes, chunked=chunked)}\r\n\r\n".encode())
        await body.send(writer, size_bytes, chunked=chunked)
        return
    said = b"ok"
    if method == "POST":
        pace = Pace(float(given["rate"]), float(given["seconds"]))
        said = b"%d" % await body.receive(reader, head, pace)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))


async def listen(tls: ssl.SSLContext | None) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listening.bind(("127.0.0.1", 0))
        await asyncio.start_server(serve, sock=listening, ssl=tls, backlog=BACKLOG, limit=READ_AHEAD_BYTES)
        sys.stdout.write(f"ready on {listening.getsockname()[1]}\n")
        sys.stdout.flush()
        await ended.wait()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.upstream", description=__doc__)
    parser.add_argument("--cert", type=Path, help="speak TLS with this certificate")
    parser.add_argument("--key", type=Path, help="and this key")
    given = parser.parse_args(arguments)
    tls = None
    if given.cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(given.cert, given.key)
    uvloop.run(listen(tls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
