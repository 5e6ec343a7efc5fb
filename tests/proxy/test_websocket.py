"""Following frames that the `websockets` library has made, in whatever pieces they come."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from bgproxy.proxy.websocket import GOING_AWAY, FrameFollower, close_frame, is_websocket

CLOSE = close_frame(GOING_AWAY)
SIZES = (0, 1, 125, 126, 127, 65535, 65536)
EVERY_BYTE = 300  # of longer frames only the edges are tried


def text(payload: str | bytes, *, masked: bool = True, fin: bool = True) -> bytes:
    data = payload if isinstance(payload, bytes) else payload.encode()
    return Frame(Opcode.TEXT, data, fin).serialize(mask=masked)


def control(opcode: Opcode, payload: bytes = b"", *, masked: bool = True) -> bytes:
    return Frame(opcode, payload).serialize(mask=masked)


def parts(frame: bytes) -> Generator[int]:
    """Where to cut a frame: all of its header, and the payload where it begins and ends."""
    yield from (cut for cut in range(1, len(frame)) if cut < EVERY_BYTE or cut > len(frame) - 3)


def followed(*pieces: bytes, masked: bool = True) -> FrameFollower:
    follower = FrameFollower(masked=masked)
    for piece in pieces:
        follower.feed(piece)
    return follower


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_frame_ends_where_its_length_says(size: int, masked: bool) -> None:
    frame = text(b"x" * size, masked=masked)
    assert followed(frame, masked=masked).at_boundary
    for cut in parts(frame):
        follower = followed(frame[:cut], masked=masked)
        assert not follower.at_boundary, cut
        follower.feed(frame[cut:])
        assert follower.at_boundary, cut
    assert not follower.broken


@pytest.mark.parametrize("masked", [True, False])
def test_many_frames_are_followed_whole_and_byte_by_byte(masked: bool) -> None:
    """With control frames between the fragments of a message."""
    frames = [
        text("", masked=masked),
        text("a", masked=masked, fin=False),
        control(Opcode.PING, b"still there?", masked=masked),
        Frame(Opcode.CONT, b"b" * 126, fin=True).serialize(mask=masked),
        control(Opcode.PONG, masked=masked),
        text("c" * 125, masked=masked),
        control(Opcode.PING, b"p" * 125, masked=masked),
        text("d" * 70_000, masked=masked),
        text("e", masked=masked),
    ]
    stream = b"".join(frames)
    assert followed(stream, masked=masked).at_boundary
    assert followed(stream, stream, masked=masked).at_boundary
    ends = {sum(len(frame) for frame in frames[:count]) for count in range(len(frames) + 1)}
    follower = FrameFollower(masked=masked)
    found = set()
    for at in range(len(stream)):
        if follower.at_boundary:
            found.add(at)
        follower.feed(stream[at : at + 1])
    assert found | {len(stream)} == ends
    assert follower.at_boundary
    for cut in (*range(500), len(stream) - 3, len(stream) - 1):
        assert followed(stream[:cut], masked=masked).at_boundary == (cut in ends)
        assert followed(stream[:cut], stream[cut:], masked=masked).at_boundary


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(text("hello", masked=False), id="a client that does not mask"),
        pytest.param(b"\x82\xff\x80\0\0\0\0\0\0\0key!", id="a length of 64 bits"),
        pytest.param(b"\x89\xfe\0\x7ekey!" + b"p" * 126, id="a long control frame"),
        pytest.param(b"\x09\x80key!", id="a fragmented control frame"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="something else"),
    ],
)
def test_what_is_no_websocket_is_given_up(header: bytes) -> None:
    before = text("before")
    for pieces in ([before + header], [before, header], [bytes([byte]) for byte in before + header]):
        follower = followed(*pieces)
        assert follower.broken
        follower.feed(control(Opcode.CLOSE))
        assert (follower.at_boundary, follower.closed) == (False, False)


def test_a_server_that_masks_is_given_up() -> None:
    assert followed(text("hello", masked=True), masked=False).broken


def test_nothing_is_followed_behind_a_close_frame() -> None:
    close = control(Opcode.CLOSE, Close(1000, "enough").serialize())
    for cut in parts(close):
        assert not followed(text("hello") + close[:cut]).closed
        assert followed(text("hello") + close[:cut], close[cut:] + b"garbage").closed
        follower = followed(text("hello") + close[:cut], close[cut:], b"garbage")
        assert (follower.closed, follower.broken, follower.at_boundary) == (True, False, True)
    assert followed(close + b"garbage").closed
    assert followed(control(Opcode.CLOSE)).closed


def test_a_direction_ends_with_the_frame_that_it_is_in_and_our_close_frame() -> None:
    frame, later = text("x" * 130), text("never seen")
    assert FrameFollower(masked=True).feed_last(b"", CLOSE) == CLOSE
    for cut in range(1, len(frame)):
        for pieces in (
            [frame[cut:] + later],
            [frame[cut:], later],
            [bytes([byte]) for byte in frame[cut:] + later],
        ):
            follower = followed(text("before") + frame[:cut])
            assert (follower.feed_last(b"", CLOSE), follower.ended) == (b"", False)
            assert b"".join(follower.feed_last(piece, CLOSE) for piece in pieces) == frame[cut:] + CLOSE
            assert (follower.ended, follower.at_boundary) == (True, True)


def test_the_answer_to_our_close_frame_is_seen_but_does_not_pass() -> None:
    follower = FrameFollower(masked=True)
    assert follower.feed_last(b"", CLOSE) == CLOSE
    answer = text("in between") + control(Opcode.CLOSE, Close(1001, "").serialize())
    assert (follower.feed_last(answer[:-1], CLOSE), follower.closed) == (b"", False)
    assert (follower.feed_last(answer[-1:], CLOSE), follower.closed) == (b"", True)


def test_the_close_frame_of_the_sender_is_its_last_one() -> None:
    own = control(Opcode.CLOSE, Close(1000, "").serialize())
    for cut in range(1, len(own) + 1):
        follower = followed(own[:cut])
        assert follower.feed_last(own[cut:] + text("garbage"), CLOSE) == own[cut:]
        assert follower.ended
        assert follower.closed


def test_a_direction_that_breaks_in_its_last_frame_never_ends() -> None:
    follower = followed(b"\x82")
    assert follower.feed_last(b"\x05hello", CLOSE) == b"\x05"
    assert follower.broken
    assert not follower.ended


@pytest.mark.parametrize("key", [b"", b"\0\0\0\0", b"\x12\x34\x56\x78"])
def test_a_close_frame_says_its_code_masked_or_not(key: bytes) -> None:
    reader = StreamReader()
    reader.feed_data(close_frame(4321, key))
    with pytest.raises(StopIteration) as parsed:
        next(Frame.parse(reader.read_exact, mask=bool(key)))
    frame = parsed.value.value
    assert (frame.opcode, frame.fin, Close.parse(frame.data)) == (Opcode.CLOSE, True, Close(4321, ""))
    reader.feed_eof()
    with pytest.raises(StopIteration) as ended:
        next(reader.at_eof())
    assert ended.value.value


@pytest.mark.parametrize(
    ("asked", "agreed", "verdict"),
    [
        (b"websocket", b"websocket", True),
        (b"WebSocket", b"WEBSOCKET", True),
        (b"chat, websocket", b"websocket", True),
        (b"websocket", b"chat", False),
        (b"chat", b"websocket", False),
        (b"websocket2", b"websocket", False),
        (b"websocket", None, False),
        (None, b"websocket", False),
    ],
)
def test_a_websocket_is_what_both_sides_call_so(
    asked: bytes | None, agreed: bytes | None, verdict: bool
) -> None:
    assert is_websocket(asked, agreed) is verdict
