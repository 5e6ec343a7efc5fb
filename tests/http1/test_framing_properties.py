"""Any bytes are parsed or refused, and whatever is forwarded means the same to llhttp and to h11.

`make fuzz` tries the same properties, see `fuzz`, on millions of inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import judges, messages, properties
from fuzz.properties import FORWARDED, REFUSED
from tests.http1.feeding import feed_body, feed_request, feed_response

CHECKS = {"request": properties.request, "response": properties.response, "chunked": properties.chunked}
FEEDS: dict[str, Callable[[bytes], object]] = {
    "request": feed_request,
    "response": feed_response,
    "chunked": feed_body,
}


def damaged(target: str) -> st.SearchStrategy[bytes]:
    """Valid messages with a few changes, or anything."""
    valid = st.sampled_from(messages.seeds(target))
    randoms = st.randoms(use_true_random=False)
    return st.one_of(st.builds(messages.damaged, valid, randoms), valid, st.binary(max_size=100))


@pytest.mark.parametrize("target", messages.TARGETS)
def test_valid_messages_are_forwarded(target: str) -> None:
    """All but chunked ones of HTTP/1.0."""
    outcomes = {seed: CHECKS[target](seed) for seed in messages.seeds(target)}
    for seed, outcome in outcomes.items():
        faulty = b" HTTP/1.0\r\n" in seed or seed.startswith(b"HTTP/1.0 ")
        assert outcome == (REFUSED if faulty and b"\r\nTransfer-Encoding" in seed else FORWARDED), seed


@settings(max_examples=400)
@given(damaged("request"))
def test_a_request_means_the_same_to_every_parser(data: bytes) -> None:
    properties.request(data)


@settings(max_examples=400)
@given(damaged("response"))
def test_a_response_means_the_same_to_every_parser(data: bytes) -> None:
    properties.response(data)


@settings(max_examples=400)
@given(damaged("chunked"))
def test_a_chunked_body_means_the_same_to_every_parser(data: bytes) -> None:
    properties.chunked(data)


@pytest.mark.parametrize("target", messages.TARGETS)
@settings(max_examples=60)
@given(data=st.data())
def test_it_does_not_matter_how_a_message_is_cut(target: str, data: st.DataObject) -> None:
    """Whole, byte by byte and with trailing bytes."""
    FEEDS[target](data.draw(damaged(target)))


@pytest.mark.parametrize("target", messages.TARGETS)
def test_the_damage_leaves_enough_to_forward(target: str) -> None:
    """A fuzzer whose every input is refused at once finds nothing."""
    random, seeds = Random(1), messages.seeds(target)
    outcomes = [CHECKS[target](messages.damaged(random.choice(seeds), random)) for _ in range(500)]
    assert min(map(outcomes.count, properties.OUTCOMES)) > 25


# --- what the properties would say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "block"),
    [
        (judges.llhttp_requests, b"Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        (judges.llhttp_requests, b"Host: a\r\nX: a\x00b\r\n"),
        (judges.h11_requests, b"Host: a\r\nHost: b\r\n"),
        (judges.h11_requests, b"Host: a\r\nContent-Length: 5, 6\r\n"),
    ],
)
def test_a_judge_refuses_what_is_ambiguous(
    judge: Callable[[bytes], list[judges.Message]], block: bytes
) -> None:
    with pytest.raises(judges.Disagreement):
        judge(b"GET / HTTP/1.1\r\n" + block + b"\r\n0\r\n\r\n")


def test_the_judges_read_every_message_in_a_row() -> None:
    first = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: 1\r\n\r\n"
    second = b"GET /b HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    for read in (judges.llhttp_requests, judges.h11_requests):
        messages_read = read(first + second + first)
        assert [(message.start, message.body) for message in messages_read] == [
            ((b"POST", b"/a"), b"x"),
            ((b"GET", b"/b"), b""),
            ((b"POST", b"/a"), b"x"),
        ]


def test_a_judge_of_responses_leaves_out_what_is_not_final_and_says_what_follows() -> None:
    data = b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    final = judges.Message((200,), ((b"content-length", b"1"),), b"x")
    assert judges.h11_response(b"GET", data + b"rest") == (final, b"rest")
    assert judges.llhttp_responses(data) == [final]
    until_close = judges.Message((200,), (), b"abc")
    assert judges.h11_response(b"GET", b"HTTP/1.1 200 OK\r\n\r\nabc") == (until_close, b"")
    assert judges.llhttp_responses(b"HTTP/1.1 200 OK\r\n\r\nabc") == [until_close]
