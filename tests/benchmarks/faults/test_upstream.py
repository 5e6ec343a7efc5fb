"""On a socket of its own, without a proxy: what an upstream really does, and what it says that it did."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.faults.misbehaviour import MISBEHAVIOURS
from benchmarks.faults.upstream import Connection, Upstream
from bgproxy.demo.stage import free_ports

GET = b"GET / HTTP/1.1\r\nHost: x\r\nX-Request: 7\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nX-Request: 7\r\nContent-Length: 48\r\n\r\n" + b"hello\n" * 8
PATIENCE_S = 10.0


@asynccontextmanager
async def served(path: Path, fault: str, every: int = 1) -> AsyncIterator[tuple[Upstream, int]]:
    journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    upstream = Upstream(journal, MISBEHAVIOURS.get(fault), every)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    try:
        yield upstream, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(upstream.connections):
            connection.transport.abort()
        os.close(journal)


async def ask(port: int, request: bytes = GET) -> tuple[bytes, str]:
    """All that came, and how it ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    data, end = b"", "closed"
    try:
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(1 << 20):
                data += piece
    except ConnectionResetError:
        end = "reset"
    writer.close()
    return data, end


def journal(path: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("fault", "data", "end"),
    [
        ("reset", b"", "reset"),
        ("close", b"", "closed"),
        ("reset-in-head", WHOLE[:20], "reset"),
        ("close-in-head", WHOLE[:20], "closed"),
        ("reset-in-body", WHOLE[:-24], "reset"),
        ("close-in-body", WHOLE[:-24], "closed"),
        ("http09", b"hello\n" * 8, "closed"),
        ("one-request", WHOLE.replace(b"Content", b"Connection: close\r\nContent"), "closed"),
        ("idle-close", WHOLE, "closed"),
    ],
)
async def test_a_connection_ends_as_its_fault_says(tmp_path: Path, fault: str, data: bytes, end: str) -> None:
    async with served(tmp_path / "journal", fault) as (_, port):
        assert await ask(port) == (data, end)
    assert journal(tmp_path / "journal")[:2] == ["got GET 7", "fault GET 7"]


@pytest.mark.parametrize(
    ("fault", "data"),
    [
        ("", WHOLE),
        ("double", WHOLE + WHOLE),
        ("extra", WHOLE + b"hello\nhell"),
        ("slow-body", WHOLE),
        ("too-long", WHOLE.replace(b"48", b"58")),
        ("error", b"HTTP/1.1 500 Internal Server Error\r\nX-Request: 7\r\nContent-Length: 7\r\n\r\nbroken\n"),
    ],
)
async def test_a_connection_that_stays_open_has_got_this(tmp_path: Path, fault: str, data: bytes) -> None:
    async with served(tmp_path / "journal", fault) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(len(data)) == data
        writer.close()


async def test_only_every_nth_request_is_failed(tmp_path: Path) -> None:
    async with served(tmp_path / "journal", "close", every=2) as (_, port):
        data, _ = await ask(port, GET + GET.replace(b"7", b"8"))
    assert data == WHOLE
    assert journal(tmp_path / "journal") == ["got GET 7", "done GET 7", "got GET 8", "fault GET 8"]


async def test_the_check_is_told_the_truth_and_is_in_no_journal(tmp_path: Path) -> None:
    async with served(tmp_path / "journal", "") as (upstream, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for status in (b"200", b"503"):
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == status
            upstream.turn()
        writer.close()
    assert journal(tmp_path / "journal") == []


async def test_a_request_that_crosses_with_the_close_is_noted(tmp_path: Path) -> None:
    """It is in the kernel's buffer, and the loop has not seen it yet."""
    async with served(tmp_path / "journal", "") as (upstream, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            async with asyncio.timeout(PATIENCE_S):
                while not upstream.connections:
                    await asyncio.sleep(0)
            (connection,) = upstream.connections
            client.sendall(GET)
            connection.leave()
            await asyncio.sleep(0)
    assert journal(tmp_path / "journal") == ["crossed GET 7"]


def test_a_deaf_upstream_takes_no_connection(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.faults.upstream", "--port", str(port)),
            *("--journal", str(tmp_path / "journal"), "--fault", "deaf"),
        ],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with socket.socket() as client:
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.connect(("127.0.0.1", port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
