from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from bgproxy.admin_api import stream
from tests.switch.stage import PATIENCE_S

from .server import Server


@dataclass
class Reader:
    response: aiohttp.ClientResponse

    async def block(self) -> dict[str, str]:
        """The next block of the stream: its fields, or under "" its comment."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_S):
            while (line := (await self.response.content.readline()).decode()) not in {"\n", ""}:
                name, _, value = line.rstrip("\n").partition(":")
                fields[name] = value.strip()
        return fields

    async def event(self) -> dict[str, Any]:
        while not (fields := await self.block()) or "" in fields:
            assert fields, "the stream has ended"
        data: dict[str, Any] = orjson.loads(fields["data"])
        assert (fields["id"], fields["event"]) == (str(data["id"]), data["kind"])
        return data


@contextlib.asynccontextmanager
async def events(
    api: Server, query: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[Reader]:
    async with api.session.get(f"{api.url}/admin/events{query}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        yield Reader(response)


async def test_what_happens_is_told_as_it_happens(api: Server) -> None:
    async with events(api) as reader:
        await api.call("POST", "/admin/switch")
        event = await reader.event()
        assert (event["kind"], event["service"], event["data"]["to"]) == ("switch", "web", "green")
        await api.call("POST", "/admin/rollback")
        assert (await reader.event())["kind"] == "rollback"


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_reader_goes_on_where_it_was(api: Server, way: str) -> None:
    first, second = (api.stage.events.add("test", str(number)) for number in (1, 2))
    query = f"?after={first.id}" if way == "query" else ""
    headers = {"Last-Event-ID": str(first.id)} if way == "header" else {}
    async with events(api, query, headers) as reader:
        assert (await reader.event())["id"] == second.id
        third = api.stage.events.add("test", "3")
        assert (await reader.event())["id"] == third.id


@pytest.mark.parametrize("last", ["", "nonsense", "-1", "1e3", "²", "9" * 5000])
async def test_a_last_event_that_cannot_be_is_no_reason_to_fail(api: Server, last: str) -> None:
    headers = {"Last-Event-ID": last.encode().decode("latin-1")}
    async with events(api, headers=headers) as reader:
        new = api.stage.events.add("test", "new")
        assert (await reader.event())["id"] == new.id


async def test_a_silent_stream_has_a_heartbeat(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    async with events(api) as reader:
        assert await reader.block() == {"": "still here"}
        assert await reader.block() == {"": "still here"}
        new = api.stage.events.add("test", "after the silence")
        assert (await reader.event())["id"] == new.id


async def test_without_following_the_stream_ends_with_what_is_kept(api: Server) -> None:
    known = api.stage.events.since(0)
    async with events(api, "?follow=false") as reader:
        assert [await reader.event() for _ in known] == [orjson.loads(orjson.dumps(each)) for each in known]
        assert await reader.response.content.read() == b""
    async with events(api, f"?follow=false&after={known[-1].id}") as reader:
        assert await reader.response.content.read() == b""


async def test_a_text_of_several_lines_stays_one_event(api: Server) -> None:
    async with events(api) as reader:
        api.stage.events.add("test", "one\ntwo\n\ndata: three")
        assert (await reader.event())["text"] == "one\ntwo\n\ndata: three"


async def test_a_reader_that_leaves_is_forgotten(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    async with events(api) as reader:
        await reader.block()
        assert len(api.stage.events._followers) == 1
    async with asyncio.timeout(PATIENCE_S):
        while api.stage.events._followers:
            await asyncio.sleep(0)


async def test_the_end_of_the_controller_ends_the_stream(api: Server) -> None:
    async with events(api) as reader:
        api.stage.events.add("test", "last")
        await reader.event()
        api.stage.events.close()
        assert await reader.response.content.read() == b""


async def test_a_stream_cannot_be_asked_for_its_head_only(api: Server) -> None:
    assert (await api.call("HEAD", "/admin/events")).status == 405
    assert (await api.call("HEAD", "/healthz")).status == 200
