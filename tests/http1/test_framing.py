from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.errors import ProxyError
from bgproxy.http1.fields import request_fields, response_fields
from bgproxy.http1.framing import CHUNKED, NONE, UNTIL_CLOSE, ChunkedScanner, request_body, response_body
from tests.http1.feeding import Body, Refused, feed_body

LENGTH, ZERO, CODING = b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(("block", "framing"), [(b"", NONE), (ZERO, NONE), (LENGTH, 5), (CODING, CHUNKED)])
def test_a_request_has_a_body_only_if_it_says_so(block: bytes, framing: int) -> None:
    """RFC 9112 section 6.3: it never lasts until the connection is closed."""
    assert request_body(request_fields(b"Host: a\r\n" + block)) == framing


@pytest.mark.parametrize(
    ("block", "framing"), [(b"", UNTIL_CLOSE), (ZERO, NONE), (LENGTH, 5), (CODING, CHUNKED)]
)
def test_a_response_without_framing_lasts_until_the_connection_is_closed(block: bytes, framing: int) -> None:
    assert response_body(b"GET", 200, response_fields(block)) == framing


@pytest.mark.parametrize("block", [b"", ZERO, LENGTH, CODING])
def test_some_responses_have_no_body_whatever_their_fields_say(block: bytes) -> None:
    """RFC 9112 section 6.3, point 1."""
    fields = response_fields(block)
    for method, status in (
        (b"HEAD", 200),
        (b"GET", 100),
        (b"GET", 101),
        (b"GET", 199),
        (b"GET", 204),
        (b"POST", 304),
    ):
        assert response_body(method, status, fields) == NONE
    assert response_body(b"head", 200, fields) == response_body(b"GET", 200, fields)


VALID = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"a\r\n0123456789\r\nA\r\n0\r\n\r\n45678\r\n00\r\n\r\n", b"0123456789" + b"0\r\n\r\n45678"),
    (b"000000000000001\r\nx\r\n000\r\n\r\n", b"x"),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    (
        b"1\r\n1\r\nF\r\n0\r\n\r\n56789abcde\r\n1\r\n\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
        b"1" + b"0\r\n\r\n56789abcde" + b"\n" + b"0123456789abcdef",
    ),
    (b"1\r\nx\r\n0\r\nChecksum: 1\r\nX:\r\n\r\n", b"x"),
]


@pytest.mark.parametrize(("data", "content"), VALID)
def test_a_chunked_body_is_handed_on_as_it_came_or_decoded(data: bytes, content: bytes) -> None:
    assert feed_body(data) == Body(data, b"", done=True)
    assert feed_body(data, decode=True) == Body(content, b"", done=True)


@pytest.mark.parametrize(("data", "content"), VALID)
def test_a_chunked_body_that_breaks_off_is_not_done(data: bytes, content: bytes) -> None:
    for end in range(len(data)):
        part = feed_body(data[:end])
        assert isinstance(part, Body)
        assert not part.done
        assert data.startswith(part.handed_on)
        decoded = feed_body(data[:end], decode=True)
        assert isinstance(decoded, Body)
        assert content.startswith(decoded.handed_on)


WITH_EXTENSIONS = (
    b'1;a\r\nx\r\n1 ; b = c ;d="e;\\""\r\ny\r\n11;e=f\r\n0123456789abcdefg\r\n0;last\r\nT: 1\r\n\r\n'
)
WITHOUT_EXTENSIONS = b"1\r\nx\r\n1\r\ny\r\n11\r\n0123456789abcdefg\r\n0\r\nT: 1\r\n\r\n"


def test_chunk_extensions_are_not_handed_on() -> None:
    """RFC 9112 section 7.1.1: they are for the next hop only, and parsers disagree about where they end."""
    assert feed_body(WITH_EXTENSIONS) == Body(WITHOUT_EXTENSIONS, b"", done=True)
    assert feed_body(WITH_EXTENSIONS, decode=True) == Body(b"xy0123456789abcdefg", b"", done=True)


def test_a_body_with_extensions_that_breaks_off_is_not_done() -> None:
    for end in range(len(WITH_EXTENSIONS)):
        part = feed_body(WITH_EXTENSIONS[:end])
        assert isinstance(part, Body)
        assert not part.done
        assert WITHOUT_EXTENSIONS.startswith(part.handed_on)


def test_every_way_to_cut_a_small_body_gives_the_same() -> None:
    data = b"1;a\r\nx\r\n0\r\nT: 1\r\n\r\n"[:12]
    for cuts in range(1 << (len(data) - 1)):
        scanner = ChunkedScanner(400)
        handed_on, piece = b"", b""
        for index in range(len(data)):
            piece += data[index : index + 1]
            if cuts >> index & 1:
                handed_on += scanner.feed(piece)[0]
                piece = b""
        handed_on += scanner.feed(piece)[0]
        assert handed_on == b"1\r\nx\r\n0\r\n"


@pytest.mark.parametrize("count", [1023, 1024, 1025, 5000])
def test_any_number_of_tiny_chunks_is_understood(count: int) -> None:
    data = b"1\r\nx\r\n" * count
    for decode, out in ((False, data + b"0\r\n\r\n"), (True, b"x" * count)):
        scanner = ChunkedScanner(400, decode=decode)
        assert scanner.feed(data + b"0\r\n\r\nrest") == (out, b"rest")
        assert scanner.done


def test_a_wrong_chunk_behind_many_tiny_ones_is_refused() -> None:
    with pytest.raises(ProxyError):
        ChunkedScanner(400).feed(b"1\r\nx\r\n" * 3000 + b"1\r\nxx\r\n")


BAD_SIZES = [
    b"",
    b" 1",
    b"1 ",
    b"1\t",
    b"+1",
    b"-1",
    b"0x1",
    b"1h",
    b"g",
    b"1.0",
    b"1,",
    b"1\x00",
    b"1\x0b",
    b"\xb2",
    b"1" * 16,
    b"0000000000000001",
    b"1;",
    b"1; ",
    b"1;;a",
    b"1;a=",
    b"1;a b",
    b"1;a=b c",
    b'1;a="b',
    b'1;a="b"c',
    b'1;a="\x00"',
    b'1;a="\\',
    b"1;a\x0b",
    b"1;\ra",
    b"1\r",
    b"1;a=\r",
]


@pytest.mark.parametrize("size", BAD_SIZES)
def test_a_malformed_chunk_size_or_extension_is_refused(size: bytes) -> None:
    assert feed_body(size + b"\r\nx\r\n0\r\n\r\n") == Refused(400)
    assert feed_body(b"1\r\nx\r\n" + size + b"\r\nx\r\n0\r\n\r\n", decode=True, status=502) == Refused(502)


@pytest.mark.parametrize(
    "data",
    [
        b"1\nx\r\n0\r\n\r\n",
        b"1;a\nx\r\n0\r\n\r\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nx0\r\n\r\n",
        b"1\r\nxx\r\n0\r\n\r\n",
        b"1\r\nx\r\r\n0\r\n\r\n",
        b"1\r\nx\rx",
        b"2\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n\r\n0\r\n\r\n",
        b"0\n\r\n",
        b"0\r\n\n",
        b"0\r\n\r\r\n\r\n",
    ],
)
def test_a_wrong_terminator_is_refused(data: bytes) -> None:
    """RFC 9112 section 7.1: chunked data cannot be resynchronized by guessing."""
    assert feed_body(data) == Refused(400)
    assert feed_body(data, decode=True) == Refused(400)


@pytest.mark.parametrize(
    "line",
    [
        b"X",
        b"X : a",
        b" X: a",
        b": a",
        b"X: a\x00",
        b"X: a\rb",
        b"X: a\nY: b",
        b"X: a\r\n b",
        b"X\x80: a",
        b"X: a\n",
    ],
)
def test_a_malformed_trailer_is_refused(line: bytes) -> None:
    assert feed_body(b"0\r\n" + line + b"\r\n\r\n") == Refused(400)
    assert feed_body(b"0\r\nA: b\r\n" + line + b"\r\nC: d\r\n\r\n") == Refused(400)


@pytest.mark.parametrize(
    "name",
    [
        b"Content-Length",
        b"transfer-encoding",
        b"HOST",
        b"Trailer",
        b"Connection",
        b"Authorization",
        b"Cookie",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Content_Length",
        b"Forwarded",
        b"X-Forwarded-For",
        b"X_Forwarded_Host",
    ],
)
def test_a_trailer_cannot_carry_what_only_a_head_may(name: bytes) -> None:
    """RFC 9110 section 6.5.1: a recipient that merges trailers would be led astray."""
    assert feed_body(b"0\r\n" + name + b": 1\r\n\r\n") == Refused(400)
    assert feed_body(b"0\r\nA: b\r\n" + name + b":\r\n\r\n", status=502) == Refused(502)
    assert isinstance(feed_body(b"0\r\nX-" + name + b": 1\r\n\r\n"), Body)


def test_nothing_of_a_line_is_handed_on_before_the_line_is_valid() -> None:
    scanner = ChunkedScanner(400)
    assert scanner.feed(b"5\r\nhello\r\n5;ext") == (b"5\r\nhello\r\n", b"")
    assert scanner.feed(b"=1\r\nwo") == (b"5\r\nwo", b"")
    assert scanner.feed(b"rld\r\n0\r\nX: 1\r\n") == (b"rld\r\n0\r\n", b"")
    assert scanner.feed(b"\r\nGET /") == (b"X: 1\r\n\r\n", b"GET /")
    assert scanner.done


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """A valid encoding, what is handed on of it, and its content."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    extensions = st.sampled_from([b"", b"", b";a", b" ;a=b", b';a="\\"b\\\\"'])
    sizes = st.sampled_from([b"%x", b"%X", b"0%x"])
    trailer = draw(st.sampled_from([b"", b"X: y\r\n", b"A:\r\nB: c\r\n"])) + b"\r\n"
    sent = handed_on = b""
    for chunk in chunks:
        size, data = draw(sizes) % len(chunk), b"\r\n" + chunk + b"\r\n"
        sent += size + draw(extensions) + data
        handed_on += size + data
    return (
        sent + b"0" + draw(extensions) + b"\r\n" + trailer,
        handed_on + b"0\r\n" + trailer,
        b"".join(chunks),
    )


@given(chunked_bodies())
def test_any_valid_body_is_understood_however_it_is_cut(body: tuple[bytes, bytes, bytes]) -> None:
    sent, handed_on, content = body
    assert feed_body(sent) == Body(handed_on, b"", done=True)
    assert feed_body(sent, decode=True) == Body(content, b"", done=True)


@given(chunked_bodies(), st.data())
def test_a_damaged_body_means_the_same_however_it_is_cut(
    body: tuple[bytes, bytes, bytes], data: st.DataObject
) -> None:
    """What is handed on as it came is a body to the next parser too, and with the same content."""
    encoded = body[0]
    at = data.draw(st.integers(0, len(encoded)))
    cut = data.draw(st.integers(0, 3))
    put = data.draw(
        st.one_of(st.sampled_from([b"\n", b"\r", b"\r\n", b"0", b" ", b";", b"\x00"]), st.binary(max_size=3))
    )
    damaged = encoded[:at] + put + encoded[at + cut :]
    result, decoded = feed_body(damaged), feed_body(damaged, decode=True)
    if isinstance(result, Refused) or not result.done:
        return
    assert damaged.endswith(result.rest)
    assert isinstance(decoded, Body)
    assert feed_body(result.handed_on) == Body(result.handed_on, b"", done=True)
    assert feed_body(result.handed_on, decode=True) == Body(decoded.handed_on, b"", done=True)
