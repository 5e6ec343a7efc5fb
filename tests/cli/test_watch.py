from __future__ import annotations

import io
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl

import pytest
from rich.console import Console, RenderableType

from bgproxy.cli.client import Client
from bgproxy.cli.failure import NotAllowed, Unreachable
from bgproxy.cli.target import parse_target
from bgproxy.cli.watch import EVENTS_SHOWN, Watch, show
from bgproxy.cli.wording import clock

from .admin import Admin, sse
from .conftest import PROGRAM
from .examples import NOW, event, pool, responses, service, status


def text(view: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=200, highlight=False).print(view)
    return file.getvalue()


def screen(watch: Watch, height: int, width: int) -> list[str]:
    """The lines of a terminal of this size."""
    console = Console(file=io.StringIO(), width=width, height=height)
    return [
        "".join(segment.text for segment in line).rstrip()
        for line in console.render_lines(watch.screen(NOW), console.options.update(height=height))
    ]


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
    as_of = clock(time.time())
    admin.says("GET /admin/status", answer, 503)
    watch.read()
    shown = text(watch.frame(NOW))
    assert "admin API away since" in shown
    assert "ACTIVE" in shown
    assert as_of <= shown.partition("OLD, as of ")[2][:8] <= clock(time.time())
    assert "traffic goes on" not in shown  # nobody can know
    admin.says("GET /admin/status", status())
    watch.read()
    shown = text(watch.frame(NOW))
    assert "admin API away" not in shown
    assert "OLD" not in shown


def test_what_is_old_does_not_grow_older_on_the_screen(
    admin: Admin, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    watch.read()
    admin.says("GET /admin/status", None)
    watch.read()
    assert "controller up 2 h" in text(watch.frame(NOW + 36_000))


def test_events_stay_at_the_bottom_of_a_screen_that_has_room(watch: Watch) -> None:
    watch.read()
    shown = screen(watch, 40, 160)
    assert shown[-2] == "events"
    assert shown[-1].startswith(clock(NOW + 1))
    assert len(shown) == 40
    assert "q leaves" in shown[0]


def test_on_a_small_screen_the_status_comes_before_the_events(admin: Admin, watch: Watch) -> None:
    admin.says("GET /admin/events", sse(*(event(number, f"event {number}") for number in range(1, 7))))
    watch.read()
    shown = "\n".join(screen(watch, 25, 80))
    assert "share now" in shown
    assert "safe to stop" in shown
    assert "more line" not in shown
    assert [f"event {number}" in shown for number in (1, 5, 6)] == [False, False, True]


def test_a_screen_that_is_too_small_shows_the_beginning_and_says_that_there_is_more(watch: Watch) -> None:
    watch.read()
    shown = screen(watch, 16, 60)
    assert [word in "\n".join(shown) for word in ("ACTIVE", "share now", "✗", "events")] == [
        True,
        True,
        True,
        False,
    ]
    assert "" not in shown
    assert shown[-1] == "… 9 more lines: make the window taller"


def test_where_there_are_several_services_naming_one_helps_too(admin: Admin, watch: Watch) -> None:
    admin.says("GET /admin/status", status(service("web"), service("api")))
    watch.read()
    assert screen(watch, 16, 160)[-1].endswith("make the window taller, or name one service")


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
