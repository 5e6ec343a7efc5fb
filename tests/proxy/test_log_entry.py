"""What the access log is told of a request is that request's own, whatever parts of its line are kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bgproxy import model
from bgproxy.model import Forwarding
from bgproxy.proxy.access_log import AccessLog
from tests.proxy.conftest import Converse
from tests.support.conversation import Conversation, answer, get, post
from tests.support.peers import Peer


@asynccontextmanager
async def logged(talk: Conversation, directory: Path) -> AsyncIterator[list[dict[str, Any]]]:
    """The lines of all requests, when they are over."""
    path = directory / "access.log"
    log = talk.plane.access_log = AccessLog(model.AccessLog(path=str(path)), talk.plane.cells)
    lines: list[dict[str, Any]] = []
    try:
        yield lines
    finally:
        talk.plane.access_log = None
        log.close()
    lines += map(json.loads, path.read_text().splitlines())


async def exchanged(client: Peer, upstream: Peer, request: str, response: str | None = None) -> None:
    await client.sends(request)
    await upstream.gets_until(b"\r\n\r\n")
    response = response or answer("hello")
    await upstream.sends(response)
    await client.gets(response)


@pytest.mark.interpreted
async def test_requests_of_one_connection_are_told_apart(converse: Converse, tmp_path: Path) -> None:
    talk = await converse()
    async with logged(talk, tmp_path) as lines:
        client = await talk.client()
        await client.sends(get("/a"))
        upstream = await talk.blue[0].accepts()
        await upstream.gets_until(b"\r\n\r\n")
        await upstream.sends(answer("hello"))
        await client.gets(answer("hello"))
        for request in (
            get("/b", "User-Agent: one"),
            get("/a"),
            get("/b", "User-Agent: two", "Referer: /a"),
            get("/b", "User-Agent: one"),
        ):
            await exchanged(client, upstream, request)
    told = [(line["target"], line["user_agent"], line["referer"]) for line in lines]
    assert told == [
        ("/a", None, None),
        ("/b", "one", None),
        ("/a", None, None),
        ("/b", "two", "/a"),
        ("/b", "one", None),
    ]
    assert all(line["response_bytes"] == len(answer("hello").replace("\n", "\r\n")) for line in lines)
    assert [line["connect_ms"] is None for line in lines] == [False, True, True, True, True]
    assert all(line["first_byte_ms"] == line["duration_ms"] for line in lines)


async def test_clients_that_send_the_same_are_told_apart(converse: Converse, tmp_path: Path) -> None:
    talk = await converse()
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    async with logged(talk, tmp_path) as lines:
        for number, address in enumerate(addresses):
            client = await talk.client(source=address)
            if not number:
                await client.sends(get())
                upstream = await talk.blue[0].accepts()
                await upstream.gets_until(b"\r\n\r\n")
                await upstream.sends(answer())
                await client.gets(answer())
            else:
                await exchanged(client, upstream, get(), answer())
    assert [line["client"] for line in lines] == addresses


async def test_the_pool_and_version_are_those_of_the_request(converse: Converse, tmp_path: Path) -> None:
    """An upstream stays the same when its pool gets another version."""
    talk = await converse()
    async with logged(talk, tmp_path) as lines:
        client = await talk.client()
        await client.sends(get())
        blue = await talk.blue[0].accepts()
        await blue.gets_until(b"\r\n\r\n")
        await blue.sends(answer())
        await client.gets(answer())
        talk.publish(active=replace(talk.view.active, version="v9"))
        await exchanged(client, blue, get(), answer())
        talk.switch()
        await client.sends(get())
        green = await talk.green[0].accepts()
        await green.gets_until(b"\r\n\r\n")
        await green.sends(answer())
        await client.gets(answer())
    told = [(line["pool"], line["version"]) for line in lines]
    assert told == [("blue", "v1"), ("blue", "v9"), ("green", "v1")]


async def test_a_body_and_an_id_are_those_of_the_request(converse: Converse, tmp_path: Path) -> None:
    talk = await converse(listener={"forwarding": Forwarding()})
    async with logged(talk, tmp_path) as lines:
        client = await talk.client()
        await client.sends(post("12345"))
        upstream = await talk.blue[0].accepts()
        seen = [await upstream.gets_until(b"12345")]
        await upstream.sends(answer())
        await client.gets(answer())
        for request in (get(), get("/", 'X-Request-Id: a"b')):
            await client.sends(request)
            seen.append(await upstream.gets_until(b"\r\n\r\n"))
            await upstream.sends(answer())
            await client.gets(answer())
    assert [line["request_bytes"] for line in lines] == [5, 0, 0]
    for line, head in zip(lines, seen, strict=True):
        assert f"X-Request-Id: {line['request_id']}\r\n".encode() in head
    assert lines[2]["request_id"] == 'a"b'


async def test_a_request_that_nobody_serves_has_no_place(converse: Converse, tmp_path: Path) -> None:
    talk = await converse(hosts=("other",))
    async with logged(talk, tmp_path) as lines:
        client = await talk.client()
        await client.sends(get())
        await client.gets_response()
    (line,) = lines
    assert (line["status"], line["outcome"]) == (404, "refused")
    assert [line[name] for name in ("service", "pool", "version", "upstream")] == [None] * 4
    assert (line["attempts"], line["first_byte_ms"], line["connect_ms"]) == (0, None, None)
