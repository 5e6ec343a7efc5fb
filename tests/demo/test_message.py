import pytest

from bgproxy.demo import message
from bgproxy.demo.message import MESSAGE_BYTES, Malformed

COUNTED = b"POST / HTTP/1.1\r\nHost: a\r\nCONTENT-length:  5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize("data", [COUNTED, CHUNKED])
def test_a_message_is_complete_with_its_last_byte_and_not_before(data: bytes) -> None:
    assert [size for size in range(len(data) + 1) if message.read(data[:size])] == [len(data)]


@pytest.mark.parametrize("data", [COUNTED, CHUNKED])
def test_what_follows_a_message_is_not_part_of_it(data: bytes) -> None:
    found = message.read(data + b"GET /")
    assert found is not None
    assert (found.body, found.size) == (b"hello", len(data))


def test_field_names_are_read_in_lower_case_and_values_as_they_are() -> None:
    found = message.read(COUNTED)
    assert found is not None
    assert found.fields == {b"host": b"a", b"content-length": b"5"}
    assert found.start == b"POST / HTTP/1.1"


def test_a_request_without_a_length_has_no_body() -> None:
    found = message.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert found is not None
    assert found.body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % MESSAGE_BYTES,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n",
        b"a" * (MESSAGE_BYTES + 1),
    ],
)
def test_a_message_whose_end_is_not_certain_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        message.read(data)


def test_an_empty_chunk_ends_a_body() -> None:
    data = (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + message.chunk(b"a" * 17)
        + message.chunk(b"")
    )
    found = message.read(data)
    assert found is not None
    assert found.body == b"a" * 17
