from __future__ import annotations

import io
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl

import pytest
from rich.console import Console, RenderableType

from bgproxy.cli.client import Client
from bgproxy.cli.failure import NotAllowed, Unreachable
from bgproxy.cli.target import parse_target
from bgproxy.cli.watch import EVENTS_SHOWN, Watch, show

from .admin import Admin, sse
from .conftest import PROGRAM
from .examples import NOW, event, pool, responses, service, status


def text(view: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=200, highlight=False).print(view)
    return file.getvalue()


@pytest.fixture
def watch(admin: Admin) -> Watch:
    admin.says("GET /admin/status", status())
    admin.says("GET /admin/events", sse(event(1, "first")))
    return Watch(Client(parse_target(admin.url)))


def test_a_second_reading_shows_the_traffic_since_the_first(admin: Admin, watch: Watch) -> None:
    watch.read()
    assert "req/s" not in text(watch.frame(NOW))
    pools = {"blue": pool(**responses(2134, 0)), "green": pool(**responses(100, 0))}
    admin.says("GET /admin/status", status(service(pools=pools)))
    watch.read()
    shown = text(watch.frame(NOW))
    assert "90.0 %" in shown
    assert "10.0 %" in shown


def test_the_latest_events_stay_and_are_asked_for_only_once(admin: Admin, watch: Watch) -> None:
    watch.read()
    admin.says("GET /admin/events", sse(*(event(number, f"event {number}") for number in range(2, 9))))
    watch.read()
    assert admin.last.headers["Last-Event-ID"] == "1"
    shown = text(watch.frame(NOW))
    assert [f"event {number}" in shown for number in (2, 3, 8)] == [False, True, True]
    assert shown.count("switch") == EVENTS_SHOWN


@pytest.mark.parametrize("answer", [None, {"title": "starting"}])
def test_while_the_admin_api_is_away_the_last_status_stays(
    admin: Admin, watch: Watch, answer: object
) -> None:
    watch.read()
    admin.says("GET /admin/status", answer, 503)
    watch.read()
    shown = text(watch.frame(NOW))
    assert "admin API away since" in shown
    assert "ACTIVE" in shown
    admin.says("GET /admin/status", status())
    watch.read()
    assert "admin API away" not in text(watch.frame(NOW))


def test_the_first_failure_and_a_lost_permission_end_it(admin: Admin, watch: Watch) -> None:
    admin.says("GET /admin/status", None)
    with pytest.raises(Unreachable):
        watch.read()
    admin.says("GET /admin/status", status())
    watch.read()
    admin.refuses("GET /admin/status", 401, "no", "no")
    with pytest.raises(NotAllowed):
        watch.read()


def test_without_a_terminal_one_frame_follows_the_other(watch: Watch) -> None:
    watch.read()
    file = io.StringIO()
    answers = iter([False, False, True])
    show(watch, Console(file=file, width=200), lambda _: next(answers))
    assert file.getvalue().count("ACTIVE") == 3


def test_q_leaves_the_screen_and_the_terminal_is_as_before(admin: Admin, watch: Watch) -> None:
    with terminal() as (ours, theirs):
        before = termios.tcgetattr(theirs)
        environ = {**os.environ, "BGPROXY_ADMIN": admin.url, "TERM": "xterm"}
        process = subprocess.Popen(
            [*PROGRAM, "status", "--watch"], env=environ, stdin=theirs, stdout=theirs, stderr=theirs
        )
        try:
            shown = read_until(ours, lambda screen: "first" in screen)
            assert "ACTIVE" in shown
            os.write(ours, b"xq")
            read_until(ours, lambda screen: "\x1b[?1049l" in screen)
            assert process.wait(10) == 0
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
            process.wait()


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def read_until(file: int, done: Callable[[str], bool]) -> str:
    read = b""
    while not done(read.decode(errors="replace")):
        read += os.read(file, 65536)
    return read.decode(errors="replace")
