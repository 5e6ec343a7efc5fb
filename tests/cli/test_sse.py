from __future__ import annotations

from bgproxy.cli.sse import Event, parse

STREAM = b': hello\nid: 7\nevent: switch\ndata: {"a":\ndata: 1}\n\nid:8\r\ndata:{}\r\n\r\nevent: health\n\ndata: {"cut'


def test_events_are_what_their_lines_say() -> None:
    assert list(parse(STREAM.splitlines(keepends=True))) == [
        Event("7", "switch", {"a": 1}),
        Event("8", "", {}),
    ]
