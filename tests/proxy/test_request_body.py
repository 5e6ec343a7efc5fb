from __future__ import annotations

from typing import NamedTuple

import pytest

from bgproxy.errors import ProxyError
from bgproxy.http1.fields import request_fields
from bgproxy.proxy.request_body import RequestBody

LENGTH = b"Content-Length: 10\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"5\r\nhello\r\n1\r\n!\r\n0\r\nSum: 6\r\n\r\n"

BODIES = pytest.mark.parametrize(("fields", "data"), [(LENGTH, b"0123456789"), (CHUNKED, CHUNKS)])
SIZES = pytest.mark.parametrize("piece_bytes", [1, 2, 7, 1000])


class Taken(NamedTuple):
    body: bytes
    rest: bytes
    size_bytes: int
    done: bool


def body_of(fields: bytes) -> RequestBody:
    return RequestBody(request_fields(b"Host: app\r\n" + fields))


def take(body: RequestBody, data: bytes, piece_bytes: int) -> Taken:
    """What a body takes of data that comes in pieces of this size: it is asked no more once it has ended."""
    taken = rest = b""
    while data and not body.done:
        piece, data = data[:piece_bytes], data[piece_bytes:]
        more, rest = body.take(piece)
        taken += more
    return Taken(taken, rest + data, body.taken, body.done)


# --- where it ends ----------------------------------------------------------------------------------


@BODIES
@SIZES
@pytest.mark.parametrize("behind", [b"", b"G", b"GET / HTTP/1.1\r\n\r\n"])
def test_it_is_the_same_however_it_comes_and_whatever_follows(
    fields: bytes, data: bytes, piece_bytes: int, behind: bytes
) -> None:
    assert take(body_of(fields), data + behind, piece_bytes) == Taken(data, behind, len(data), done=True)


@BODIES
@SIZES
def test_it_is_not_done_before_its_last_byte(fields: bytes, data: bytes, piece_bytes: int) -> None:
    body = body_of(fields)
    assert not take(body, data[:-1], piece_bytes).done
    assert not body_of(fields).done
    body.take(data[-1:])
    assert body.done


@pytest.mark.parametrize("fields", [b"", b"Content-Length: 0\r\n"])
def test_a_request_without_one_is_done_at_once(fields: bytes) -> None:
    assert body_of(fields).done


@SIZES
def test_a_malformed_one_is_the_fault_of_the_client(piece_bytes: int) -> None:
    with pytest.raises(ProxyError) as refused:
        take(body_of(CHUNKED), b"5\r\nhello!\r\n0\r\n\r\n", piece_bytes)
    assert refused.value.status == 400


# --- how much it may be ---------------------------------------------------------------------------------


@BODIES
@SIZES
def test_one_of_just_the_size_is_not_too_large(fields: bytes, data: bytes, piece_bytes: int) -> None:
    body = body_of(fields)
    body.limit(len(data))
    assert take(body, data + b"GET", piece_bytes) == Taken(data, b"GET", len(data), done=True)


def refuses(body: RequestBody, most_bytes: int) -> bool:
    try:
        body.limit(most_bytes)
    except ProxyError as error:
        return error.status == 413
    return False


def test_a_length_that_is_too_large_is_refused_before_a_byte_has_come() -> None:
    assert refuses(body_of(LENGTH), 9)
    assert not refuses(body_of(LENGTH), 10)


@pytest.mark.parametrize("came", [1, 9, 10])
def test_what_has_come_already_counts_with_what_is_left(came: int) -> None:
    for most_bytes, refused in ((9, True), (10, False)):
        body = body_of(LENGTH)
        body.take(b"0123456789"[:came])
        assert refuses(body, most_bytes) is refused


def test_chunks_that_have_come_already_may_be_too_large() -> None:
    for most_bytes, refused in ((9, True), (10, False)):
        body = body_of(CHUNKED)
        body.take(CHUNKS[:10])
        assert refuses(body, most_bytes) is refused


@SIZES
def test_chunks_may_turn_out_to_be_too_large(piece_bytes: int) -> None:
    body = body_of(CHUNKED)
    body.limit(len(CHUNKS) - 1)
    with pytest.raises(ProxyError) as refused:
        take(body, CHUNKS, piece_bytes)
    assert refused.value.status == 413


def test_a_chunk_is_refused_as_it_comes_and_not_only_at_its_end() -> None:
    body = body_of(CHUNKED)
    body.limit(100)
    body.take(b"fffff\r\n")
    body.take(b"x" * 93)
    with pytest.raises(ProxyError):
        body.take(b"x")


def test_without_a_limit_any_size_is_taken() -> None:
    body = body_of(CHUNKED)
    for _ in range(100):
        body.take(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
    assert body.taken == 100 * (0x1000 + 8)
