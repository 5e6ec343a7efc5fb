"""Bodies byte by byte, on a socket: how much and how long a client can make us wait."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bgproxy.admin_api import app, content

from .server import Server

PATIENCE_S = 5.0
POST = b"POST /admin/switch HTTP/1.1\r\nHost: localhost\r\n"


@contextlib.asynccontextmanager
async def connected(api: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield reader, writer
    finally:
        writer.transport.abort()


def limit(api: Server, body_bytes: int) -> None:
    """As a reload does."""
    board = api.stage.board
    board.config = replace(board.config, admin=replace(board.config.admin, body_bytes=body_bytes))


async def test_a_length_over_the_limit_is_refused_before_a_byte_is_read(api: Server) -> None:
    async with connected(api) as (reader, writer):
        writer.write(POST + b"Content-Length: 1048577\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
        answer = await reader.readuntil(b"raise admin.body")
        assert b"application/problem+json" in answer
        assert b"a body has at most 1048576 bytes" in answer


async def test_a_body_that_does_not_say_its_length_is_refused_as_soon_as_it_is_too_large(
    api: Server,
) -> None:
    limit(api, 1000)
    async with connected(api) as (reader, writer):
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(4):
            writer.write(b"fa\r\n" + b" " * 250 + b"\r\n")
        writer.write(b"1\r\n \r\n")  # and the client sends no end
        assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"


async def test_a_body_of_exactly_the_limit_is_read(api: Server) -> None:
    limit(api, 1000)
    answer = await api.call("POST", "/admin/switch", data=b'{"reason": "now"}'.ljust(1000))
    assert answer.status == 200
    assert (await api.call("POST", "/admin/switch", data=b" " * 1001)).status == 413


@pytest.mark.parametrize("sent", [gzip.compress(b" " * 10_000_000 + b"{}"), b"no gzip"])
async def test_nothing_is_unpacked(api: Server, caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    """A small body cannot become a large one."""
    answer = await api.call("POST", "/admin/switch", data=sent, headers={"Content-Encoding": "gzip"})
    assert answer.status == 422
    assert "Traceback" not in caplog.text


async def test_a_body_has_to_arrive_in_time(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "ARRIVAL_S", 0.05)
    async with connected(api) as (reader, writer):
        writer.write(POST + b"Content-Length: 3\r\n\r\n{")
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
    assert api.stage.active() == "blue"


@pytest.mark.parametrize("sent", [b"", POST[:-5], POST])
async def test_a_head_has_to_arrive_in_time(
    api: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(app, "IDLE_S", 0.05)
    async with api.again() as short, connected(short) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_a_connection_without_a_next_request_is_closed(
    api: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "IDLE_S", 0.05)
    async with api.again() as short, connected(short) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HT")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_body_that_is_broken_behind_its_beginning_is_never_complete(
    api: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "ARRIVAL_S", 0.05)
    async with connected(api) as (reader, writer):
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await api.call("GET", "/healthz")  # which is answered after the other was read
        writer.write(b"no size\r\n")
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
    assert api.stage.active() == "blue"


async def test_a_client_that_leaves_in_mid_body_is_no_defect(
    api: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with connected(api) as (_, writer):
            writer.write(POST + b"Content-Length: 3\r\n\r\n{")
            await api.call("GET", "/healthz")  # which is answered after the other was read
        await api.call("GET", "/healthz")
    assert "Traceback" not in caplog.text
    assert api.stage.active() == "blue"
