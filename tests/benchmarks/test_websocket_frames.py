import pytest

from benchmarks import websocket_frames as frames
from benchmarks.websocket_frames import LONGEST_BYTES, NotShort

MASK = b"\x01\x02\xfe\xff"
PAYLOADS = [b"", b"a", b"hello", bytes(range(LONGEST_BYTES))]


def test_the_key_is_answered_as_in_the_example_of_the_rfc() -> None:
    assert frames.accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_masked_frame_is_as_in_the_example_of_the_rfc() -> None:
    """Section 5.7 has it as text; only the first byte differs."""
    masked = frames.from_client(b"Hello", b"\x37\xfa\x21\x3d")
    assert masked[1:] == bytes.fromhex("8537fa213d7f9f4d5158")


def test_frames_are_read_whole_in_pieces_and_with_what_follows() -> None:
    stream = b"".join(frames.from_client(payload, MASK) for payload in PAYLOADS)
    assert frames.read_client(stream) == (PAYLOADS, b"", False)
    found: list[bytes] = []
    rest = b""
    for index in range(len(stream)):
        payloads, rest, _ = frames.read_client(rest + stream[index : index + 1])
        found += payloads
    assert (found, rest) == (PAYLOADS, b"")


def test_a_close_ends_it() -> None:
    stream = frames.from_client(b"last", MASK) + b"\x88\x80" + MASK
    assert frames.read_client(stream) == ([b"last"], b"", True)


@pytest.mark.parametrize("head", [b"\x82\x05", b"\x82\xfe", b"\x01\x85"])
def test_frames_without_mask_long_ones_and_other_kinds_are_refused(head: bytes) -> None:
    with pytest.raises(NotShort):
        frames.read_client(head + bytes(20))
