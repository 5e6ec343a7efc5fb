from __future__ import annotations

import pytest

from bgproxy.errors import ProxyError
from bgproxy.http1.head import parse_response
from bgproxy.mirroring.answer import is_json
from tests.mirroring.answers import LIMIT_BYTES, answer, begun, message
from tests.support.peers import wire

CHUNKED = wire("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3;x=y\nabc\n2\nde\n0\nX: y\n\n")
CLOSING = wire("HTTP/1.1 200 OK\n\nabcde")
COUNTED = message("abcde")


@pytest.mark.parametrize("response", [COUNTED, CHUNKED, CLOSING])
def test_the_framing_makes_no_difference(response: bytes) -> None:
    found = answer(response)
    found.close()
    assert found.is_whole
    assert (found.size_bytes, found.digest) == (5, answer(COUNTED).digest)


@pytest.mark.parametrize("response", [COUNTED, CHUNKED, CLOSING])
def test_the_pieces_make_no_difference(response: bytes) -> None:
    found, body = begun(response)
    for byte in body:
        found.feed(bytes([byte]))
    found.close()
    assert (found.is_whole, found.digest) == (True, answer(COUNTED).digest)


@pytest.mark.parametrize("response", [COUNTED, CHUNKED])
def test_what_comes_behind_the_body_is_handed_back(response: bytes) -> None:
    found, body = begun(response)
    assert found.feed(body + b"more") == b"more"
    assert found.feed(b"still more") == b"still more"
    assert found.size_bytes == 5


@pytest.mark.parametrize("response", [COUNTED, CHUNKED])
def test_a_body_that_breaks_off_has_not_ended(response: bytes) -> None:
    found, body = begun(response)
    found.feed(body[:-1])
    found.close()
    assert not found.is_whole


def test_a_malformed_body_is_refused() -> None:
    found, _ = begun(CHUNKED)
    with pytest.raises(ProxyError):
        found.feed(b"zz\r\n")


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_an_answer_without_a_body_ends_with_its_head(method: bytes, status: int) -> None:
    found, _ = begun(wire(f"HTTP/1.1 {status} X\nContent-Type: application/json\n\n"), method=method)
    assert found.is_whole
    assert found.size_bytes == 0


def test_a_body_over_the_limit_is_counted_and_not_kept() -> None:
    found = answer(message('"' + "x" * LIMIT_BYTES + '"', "Content-Type: application/json"))
    assert (found.ended, found.is_whole, found.size_bytes) == (True, False, LIMIT_BYTES + 2)
    assert found.json_text is None


def test_a_body_at_the_limit_is_whole() -> None:
    assert answer(message("x" * LIMIT_BYTES)).is_whole


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["Content-Type: application/json"], True),
        (["Content-Type: Application/JSON; charset=utf-8"], True),
        (["Content-Type: application/problem+json"], True),
        (["Content-Type: application/json", "Content-Encoding: identity"], True),
        (["Content-Type: application/json", "Content-Encoding: gzip"], False),
        (["Content-Type: application/jsonp"], False),
        (["Content-Type: text/json"], False),
        ([], False),
    ],
)
def test_json_is_what_says_so_and_is_not_compressed(fields: list[str], expected: bool) -> None:
    head = parse_response(message("{}", *fields))
    assert head is not None
    assert is_json(head) is expected
    assert answer(message("{}", *fields)).json_text == (b"{}" if expected else None)
