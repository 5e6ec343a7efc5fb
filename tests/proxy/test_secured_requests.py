"""Clients with TLS that leave early, late or never, before a whole proxy."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from bgproxy.model import ListenerTls, Timeouts
from tests.proxy.conftest import Converse
from tests.proxy.test_preamble import REQUEST, TlsClient
from tests.support.certificates import Authority
from tests.support.conversation import Conversation, answer
from tests.support.peers import Peer

CROWD = 50
LARGE = "0123456789abcdef" * 65536
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Client(TlsClient):
    """Says more than requests."""

    async def says_its_end(self, *, behind: bytes = b"") -> None:
        """A close_notify, in one segment with what comes before it."""
        if behind:
            self._tls.write(behind)
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        await self._flush()

    async def gets_until(self, end: bytes) -> None:
        data = b""
        while not data.endswith(end):
            data += await self._until(lambda: self._tls.read(65536))

    async def gets_end(self) -> None:
        with contextlib.suppress(ssl.SSLZeroReturnError):  # it is raised if both have said it
            assert await self._until(lambda: self._tls.read(1)) == b""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> dict[str, Any]:
    return {"tls": ListenerTls((authority.issues("app"),))}


async def meets(
    talk: Conversation, authority: Authority, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[Peer, Client]:
    peer = await talk.client()
    client = Client(peer, authority, version)
    await peer.sends(client.hello())
    await client.gets_secured()
    return peer, client


@VERSIONS
async def test_who_says_its_end_behind_its_requests_gets_all_answers(
    converse: Converse, authority: Authority, tls: dict[str, Any], version: ssl.TLSVersion
) -> None:
    talk = await converse(listener=tls)
    peer, client = await meets(talk, authority, version)
    await client.says_its_end(behind=REQUEST * 2)
    peer.half_closes()
    upstream = await talk.blue[0].accepts()
    for body in ("first", LARGE):
        await upstream.gets_until(b"\r\n\r\n")
        await upstream.sends(answer(body))
        await client.gets_until(b"\r\n\r\n" + body.encode())
    await client.gets_end()
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")


async def test_who_says_its_end_in_mid_body_has_broken_its_request_off(
    converse: Converse, authority: Authority, tls: dict[str, Any]
) -> None:
    talk = await converse(listener=tls)
    _, client = await meets(talk, authority)
    await client.sends(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhell")
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"hell")
    await client.says_its_end(behind=b"o")
    await upstream.gets_cut_off()
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")


async def test_who_leaves_without_a_word_is_gone(
    converse: Converse, authority: Authority, tls: dict[str, Any]
) -> None:
    talk = await converse(listener=tls)
    peer, client = await meets(talk, authority)
    await client.sends(REQUEST)
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"\r\n\r\n")
    peer.half_closes()
    await upstream.gets_cut_off()
    await talk.until(lambda: not talk.plane.downstreams, "it is gone")


async def test_who_is_refused_in_mid_body_hears_why_though_it_goes_on_sending(
    converse: Converse, authority: Authority, tls: dict[str, Any]
) -> None:
    talk = await converse(listener=tls)
    _, client = await meets(talk, authority)
    await client.sends(b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    for _ in range(3):
        await client.sends(b"x" * 100_000)
    assert (await client.gets_response()).startswith(b"HTTP/1.1 400 ")
    await client.gets_end()


@pytest.mark.parametrize("sent", [1, 200, None], ids=["a byte", "half a hello", "a whole one"])
async def test_a_crowd_that_never_ends_its_handshakes_is_cut_off_and_others_are_served(
    converse: Converse, authority: Authority, tls: dict[str, Any], sent: int | None
) -> None:
    """None of them ever reads."""
    talk = await converse(listener=tls, timeouts=Timeouts(request_head_s=0.5))
    crowd = [await talk.client() for _ in range(CROWD)]
    for peer in crowd:
        await peer.sends(TlsClient(peer, authority).hello()[:sent])
    peer, client = await meets(talk, authority)
    await client.says_its_end(behind=REQUEST)
    upstream = await talk.blue[0].accepts()
    await upstream.gets_until(b"\r\n\r\n")
    await upstream.sends(answer("ok"))
    assert (await client.gets_response()).endswith(b"ok")
    await client.gets_end()
    peer.closes()
    await talk.until(lambda: not talk.plane.downstreams, "all are gone")
    assert talk.worker.accepted == CROWD + 1
