"""Where clients come in."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from bgproxy.model import ListenerTls, Preview, Protocol
from bgproxy.proxy import listener
from tests.proxy.conftest import Converse
from tests.support.certificates import Authority
from tests.support.conversation import answer, forwarded, get
from tests.support.peers import wire


async def test_a_preview_listener_always_reaches_the_idle_pool(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client("preview")
    await client.sends(get())
    await (await talk.green[0].accepts()).gets(forwarded(get()))
    talk.switch()
    other = await talk.client("preview")
    await other.sends(get())
    await (await talk.blue[0].accepts()).gets(forwarded(get()))


async def test_a_preview_host_reaches_the_idle_pool_from_the_public_listener(converse: Converse) -> None:
    talk = await converse(preview=Preview(hosts=("preview.app",)))
    client = await talk.client()
    request = get().replace("Host: app", "Host: preview.app")
    await client.sends(request)
    await (await talk.green[0].accepts()).gets(forwarded(request))


async def test_clients_may_come_through_a_unix_socket(converse: Converse) -> None:
    talk = await converse()
    client = await talk.client("unix")
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"\r\n\r\n")
    await upstream.sends(answer("ok"))
    await client.gets(answer("ok"))


async def test_a_closed_listener_leaves_its_connections_and_its_queue_alone(converse: Converse) -> None:
    """The queue is the supervisor's: whoever listens next finds the clients in it."""
    talk = await converse()
    client = await talk.client()
    talk.stop_listening()
    queued = await talk.client(accepted=False)
    await queued.sends(get("/queued"))
    await client.sends(get())
    upstream = await talk.blue[0].accepts()
    await upstream.gets(forwarded(get()))
    await upstream.sends(answer())
    await client.gets(answer())
    assert talk.worker.accepted == 1
    await talk.listen("public")
    await upstream.gets(forwarded(get("/queued")))


async def test_connections_of_a_tcp_listener_over_its_limit_are_closed_without_a_word(
    converse: Converse,
) -> None:
    talk = await converse(listener={"protocol": Protocol.TCP, "service": "web", "connections": 1})
    first = await talk.client()
    second = await talk.client(accepted=False)
    await second.gets_end()
    assert first.has_nothing()
    assert len(talk.plane.downstreams) == 1
    assert talk.worker.accepted == 2


async def test_new_connections_get_the_certificate_that_is_there_now(
    converse: Converse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the ones before live on."""
    monkeypatch.setattr(listener, "RELOAD_S", 0.01)
    caplog.set_level("INFO")
    before = Authority(tmp_path, "before")
    pair = before.issues("app")
    talk = await converse(listener={"tls": ListenerTls((pair,))})
    port = talk.port("public")
    old_reader, old_writer = await connect(port, before)
    after = Authority(tmp_path, "after")
    after.issues("app")
    await talk.until(lambda: "listener public: read again: " in caplog.text, "it was read again")
    new_reader, new_writer = await connect(port, after)
    upstream = None
    response = answer("ok", "Date: Fri, 20 Nov 2026 06:43:15 GMT")
    for reader, writer in ((old_reader, old_writer), (new_reader, new_writer)):
        writer.write(wire(get()))
        upstream = upstream or await talk.blue[0].accepts()
        await upstream.gets(forwarded(get()))
        await upstream.sends(response)
        assert await reader.readexactly(len(wire(response))) == wire(response)
        writer.close()


async def connect(port: int, authority: Authority) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cafile=authority.path)
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="app")
