from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

from tests.cli.admin import Admin, serving, sse
from tests.cli.conftest import Run
from tests.cli.examples import event, service, status
from tests.cli.test_mirror_view import answer

Start = Callable[..., subprocess.Popen[str]]


def test_the_status_shows_every_service_or_one(admin: Admin, run: Run) -> None:
    admin.says("GET /admin/status", status(service("web"), service("api")))
    everything = run("status").stdout
    assert "web   generation 2" in everything
    assert "api   generation 2" in everything
    assert "web " not in run("status", "api").stdout
    assert run("status", "wbe").exit_code == 1


def test_for_scripts_the_status_is_json(admin: Admin, run: Run) -> None:
    admin.says("GET /admin/status", status())
    assert json.loads(run("status", "-o", "json").stdout) == status()


def test_the_history_is_asked_for_one_service_and_so_many(admin: Admin, run: Run) -> None:
    admin.says("GET /admin/history", {"history": []})
    assert run("history", "web", "--limit", "5").stdout == "nothing has been changed yet\n"
    assert admin.last.path == "/admin/history?limit=5&service=web"
    assert json.loads(run("history", "-o", "json").stdout) == {"history": []}


def test_the_mirror_is_asked_for_one_service(admin: Admin, run: Run) -> None:
    admin.says("GET /admin/mirror", answer())
    assert run("mirror", "web").stdout.startswith("web   10 % of the safe requests")
    assert admin.last.path == "/admin/mirror?service=web"
    assert json.loads(run("mirror", "-o", "json").stdout) == answer()


def test_events_are_a_line_each(admin: Admin, run: Run) -> None:
    events = [event(1, "blue → green"), event(2, "g:1 is healthy", kind="health")]
    admin.says("GET /admin/events", sse(*events))
    assert [line.split("  ")[-1] for line in run("events").stdout.splitlines()] == [
        "blue → green",
        "g:1 is healthy",
    ]
    assert [json.loads(line) for line in run("events", "-o", "json").stdout.splitlines()] == events


def test_following_events_goes_on_after_a_restart_from_the_last_one(admin: Admin, start: Start) -> None:
    admin.says("GET /admin/events", sse(event(1, "before")))
    process = start("events", "--follow")
    assert process.stdout is not None
    assert process.stdout.readline().endswith("before\n")
    admin.says("GET /admin/events", sse(event(2, "after")))
    assert process.stdout.readline().endswith("after\n")
    assert admin.calls[0].headers["Last-Event-ID"] == "0"
    assert admin.calls[1].headers["Last-Event-ID"] == "1"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "admin API away, trying again every second\n" in said


def test_following_a_wrong_address_fails_at_once(run: Run) -> None:
    assert run("events", "--follow", BGPROXY_ADMIN="unix:/nowhere/admin.sock").exit_code == 3


def test_watching_for_scripts_is_a_status_per_line(admin: Admin, start: Start) -> None:
    admin.says("GET /admin/status", status())
    admin.says("GET /admin/events", b"")
    process = start("status", "--watch", "-o", "json")
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline()) for _ in range(2)] == [status(), status()]
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_watching_survives_a_restart_of_the_admin_api(start: Start) -> None:
    with serving(Admin()) as first:
        first.says("GET /admin/status", status())
        first.says("GET /admin/events", sse(event(1, "blue → green")))
        process = start("status", "--watch", "--admin", first.url)
        assert process.stdout is not None
        read_until(process, "blue → green")
    read_until(process, "admin API away since")
    with serving(Admin(), port=int(first.url.rpartition(":")[2])) as second:
        second.says("GET /admin/status", status(generation=3))
        second.says("GET /admin/events", b"")
        read_until(process, "generation 3")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_watching_a_wrong_address_fails_at_once(run: Run) -> None:
    assert run("status", "--watch", BGPROXY_ADMIN="unix:/nowhere/admin.sock").exit_code == 3


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the output ended before {text!r}")
