from __future__ import annotations

import socket
from math import inf

from bgproxy.process.loop import Loop


def test_timers_go_off_by_their_time_and_then_by_their_order() -> None:
    loop = Loop()
    seen: list[str] = []
    loop.after(0.002, lambda: seen.append("last"))
    loop.after(0.0, lambda: seen.append("first"))
    loop.after(0.0, lambda: seen.append("second"))
    while len(seen) < 3:
        loop.turn()
    assert seen == ["first", "second", "last"]


def test_what_is_never_due_is_forgotten() -> None:
    loop = Loop()
    seen: list[str] = []
    loop.after(inf, lambda: seen.append("never"))
    loop.after(0.0, lambda: seen.append("now"))
    loop.turn()
    assert seen == ["now"]


def test_a_timer_that_is_due_in_years_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = Loop()
        loop.after(1e12, lambda: None)
        loop.watch(ours, lambda: None)
        theirs.send(b"x")
        loop.turn()


def test_a_socket_is_listened_to_until_it_is_forgotten() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = Loop()
        heard: list[bytes] = []
        loop.watch(ours, lambda: heard.append(ours.recv(10)))
        theirs.send(b"one")
        loop.turn()
        loop.forget(ours)
        theirs.send(b"two")
        loop.after(0.0, lambda: None)
        loop.turn()
        assert heard == [b"one"]
