"""The requests that are counted are those that are meant."""

from __future__ import annotations

import pytest

from benchmarks.micro.catalogue import PARTS
from benchmarks.micro.exchanges import LARGE, PIECE, POST, RESPONSE, Relay
from benchmarks.micro.exchanges import PARTS as EXCHANGES
from benchmarks.micro.heads import CHUNKS
from benchmarks.micro.part import Part
from benchmarks.micro.reference import REFERENCES

BY_NAME = {part.name: part for part in EXCHANGES}


def name_of(part: Part) -> str:
    return part.name


def relay_of(name: str) -> Relay:
    relay = BY_NAME[name].prepare()()
    assert isinstance(relay, Relay)
    return relay


@pytest.mark.parametrize("part", [*REFERENCES, *PARTS], ids=name_of)
async def test_every_part_can_be_called_again_and_again(part: Part) -> None:
    call = part.prepare()
    for _ in range(3):
        call()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("request, small", RESPONSE.replace(b"Connection: keep-alive\r\n", b"")),
        ("request, a new connection each", RESPONSE.replace(b"Connection: keep-alive\r\n", b"")),
        (
            "request, a new connection each, which ends with it",
            RESPONSE.replace(b"Connection: keep-alive", b"Connection: close"),
        ),
        ("request, response of 64 KiB in 4 reads", PIECE),
    ],
)
async def test_the_client_is_written_what_the_upstream_has_sent(name: str, written: bytes) -> None:
    assert relay_of(name).client.written[-1] == written


async def test_a_chunked_response_comes_whole() -> None:
    assert relay_of("request, chunked response").client.written[-1].endswith(CHUNKS)


async def test_a_post_reaches_the_upstream_with_its_body_and_what_is_told_of_the_client() -> None:
    relay = relay_of("request, POST of 4 KiB")
    (sent,) = relay.upstream.transport.written  # type: ignore[attr-defined]
    head, _, body = sent.partition(b"\r\n\r\n")
    assert body == POST.partition(b"\r\n\r\n")[2]
    assert b"X-Forwarded-For: 192.0.2.1" in head
    assert b"X-Request-Id: " in head


async def test_a_canary_gets_its_share() -> None:
    call = BY_NAME["request, canary"].prepare()
    relays = [call() for _ in range(100)]
    relay = relays[-1]
    assert isinstance(relay, Relay)
    answered = [connection.upstream.cells[3 + 2] for connection in relay.upstreams]
    assert answered == [90, 10]


def test_the_large_response_is_of_64_kib() -> None:
    assert sum(map(len, LARGE)) - LARGE[0].index(b"\r\n\r\n") - 4 == 64 * 1024
