"""What upstreams are told about clients, and what clients may not tell them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bgproxy.model import Forwarding, ServiceHeaders
from tests.proxy.conftest import Converse
from tests.support.conversation import answer, get
from tests.support.peers import Peer

CLAIMS = (
    "X-Forwarded-For: 10.9.9.9",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: other",
    "X-Forwarded-Port: 443",
    "Forwarded: for=10.9.9.9",
)


async def head_of(upstream: Peer) -> str:
    return (await upstream.gets_until(b"\r\n\r\n")).decode().replace("\r\n", "\n")


async def told(converse: Converse, *fields: str, on: str = "public", **forwarding: Any) -> list[str]:
    """The lines that an upstream gets besides the request's own, with the port of the listener as PORT."""
    talk = await converse(listener={"forwarding": Forwarding(**forwarding)})
    client = await talk.client(on)
    await client.sends(get("/", *fields))
    upstream = await talk.blue[0].accepts()
    head = await head_of(upstream)
    await upstream.sends(answer())
    await client.gets(answer())
    port = str(talk.port(on))
    return [line.replace(f"-Port: {port}", "-Port: PORT") for line in head.split("\n")[2:] if line]


async def test_by_default_the_client_the_proxy_and_the_request_are_named(converse: Converse) -> None:
    *lines, last = await told(converse)
    assert lines == [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: app",
        "X-Forwarded-Port: PORT",
        "Via: 1.1 bgproxy",
    ]
    assert re.fullmatch("X-Request-Id: [0-9a-f]{32}", last)


async def test_clients_who_begin_with_the_same_head_are_told_apart(converse: Converse) -> None:
    """What is remembered of a head is all but whose it is."""
    talk = await converse(listener={"forwarding": Forwarding(via=False, request_id=False)})
    upstream = None
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.1"):
        client = await talk.client(source=source)
        await client.sends(get())
        upstream = upstream or await talk.blue[0].accepts()
        assert f"X-Forwarded-For: {source}\n" in await head_of(upstream)
        await upstream.sends(answer())
        await client.gets(answer())


async def test_clients_behind_one_proxy_are_told_apart(converse: Converse) -> None:
    """All are the same peer; each comes to another port from another address, or from the same one, or is the proxy."""
    forwarding = Forwarding(via=False, request_id=False)
    talk = await converse(listener={"forwarding": forwarding, "proxy_protocol": True})
    upstream = None
    for source, port in (
        *(("192.0.2.1", 80), ("192.0.2.2", 80), ("192.0.2.2", 443), ("192.0.2.2", 80)),
        *(("127.0.0.1", 443), ("", talk.port("public")), ("127.0.0.1", 443)),
    ):
        client = await talk.client()
        header = f"PROXY TCP4 {source} 198.51.100.1 4711 {port}\n" if source else "PROXY UNKNOWN\n"
        await client.sends(header + get())
        upstream = upstream or await talk.blue[0].accepts()
        head = await head_of(upstream)
        assert f"X-Forwarded-For: {source or '127.0.0.1'}\n" in head
        assert f"X-Forwarded-Port: {port}\n" in head
        await upstream.sends(answer())
        await client.gets(answer())


async def test_the_version_that_a_request_came_in_is_told(converse: Converse) -> None:
    talk = await converse(listener={"forwarding": Forwarding()})
    for version in ("1.1", "1.0", "1.1"):
        client = await talk.client()
        await client.sends(get("/", "Connection: close", version=version))
        upstream = await talk.blue[0].accepts()
        assert f"\nVia: {version} bgproxy\n" in await head_of(upstream)
        await upstream.sends(answer("", "Connection: close"))
        await client.gets(answer("", "Connection: close"))


async def test_what_a_client_claims_is_replaced(converse: Converse) -> None:
    lines = await told(converse, *CLAIMS, via=False, request_id=False)
    assert lines == [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: app",
        "X-Forwarded-Port: PORT",
    ]


async def test_what_a_trusted_proxy_says_is_kept_and_added_to(converse: Converse) -> None:
    lines = await told(
        converse, *CLAIMS, trusted=("127.0.0.0/8",), forwarded=True, via=False, request_id=False
    )
    assert lines == [
        "X-Forwarded-For: 10.9.9.9, 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: other",
        "X-Forwarded-Port: 443",
        'Forwarded: for=10.9.9.9, for=127.0.0.1;proto=http;host="app"',
    ]


async def test_a_client_on_a_unix_socket_has_no_address(converse: Converse) -> None:
    lines = await told(converse, *CLAIMS, on="unix", forwarded=True, via=False, request_id=False)
    assert lines == [
        "X-Forwarded-For: unix:",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: app",
        'Forwarded: for="_unix";proto=http;host="app"',
    ]


async def test_what_is_not_told_cannot_be_claimed_either(converse: Converse) -> None:
    assert await told(converse, *CLAIMS, x_forwarded=False, via=False, request_id=False) == []


async def test_a_trusted_proxy_is_passed_on_where_nothing_is_told(converse: Converse) -> None:
    lines = await told(
        converse, *CLAIMS, trusted=("127.0.0.1/32",), x_forwarded=False, via=False, request_id=False
    )
    assert sorted(lines) == sorted(CLAIMS)


async def test_each_request_has_an_id_of_its_own_unless_it_brings_one(converse: Converse) -> None:
    talk = await converse(listener={"forwarding": Forwarding(x_forwarded=False, via=False)})
    client = await talk.client()
    upstream = None
    ids = []
    for fields in ([], [], ["X-Request-Id: mine"], []):
        await client.sends(get("/", *fields))
        upstream = upstream or await talk.blue[0].accepts()
        ids.append((await head_of(upstream)).split("X-Request-Id: ")[1].strip())
        await upstream.sends(answer())
        await client.gets(answer())
    assert ids[2] == "mine"
    assert len(set(ids)) == 4


async def test_a_trace_is_started_if_configured_and_passed_on_always(converse: Converse) -> None:
    traceparent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    quiet: dict[str, Any] = {"x_forwarded": False, "via": False}
    assert await told(converse, traceparent, request_id=False, **quiet) == [traceparent]
    assert await told(converse, traceparent, request_id=False, traceparent=True, **quiet) == [traceparent]
    (started,) = await told(converse, request_id=False, traceparent=True, **quiet)
    assert re.fullmatch("traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01", started)
    request_id, trace = await told(converse, request_id=True, traceparent=True, **quiet)
    assert trace.split("-")[1] == request_id.split(": ")[1]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_via_says_what_the_client_spoke(converse: Converse, version: str) -> None:
    talk = await converse(listener={"forwarding": Forwarding(x_forwarded=False, request_id=False)})
    client = await talk.client()
    await client.sends(get("/", "Via: 1.1 edge", version=version))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(get("/", "Via: 1.1 edge", f"Via: {version} bgproxy"))
    await upstream.sends(answer())


async def test_a_service_may_have_another_host_and_tell_its_pool(converse: Converse) -> None:
    talk = await converse(headers=ServiceHeaders(host="internal:81", pool="X-Pool"))
    client = await talk.client()
    await client.sends(get("/", "A: b"))
    upstream = await talk.blue[0].accepts()
    await upstream.gets(get("/", "A: b").replace("Host: app", "Host: internal:81"))
    await upstream.sends(answer("ok"))
    await client.gets(answer("ok", 'X-Pool: blue;version="v1"'))
