"""Where clients come in."""

from __future__ import annotations

from bgproxy.model import Preview
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, forwarded, get


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
