from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bgproxy.cli.client import Client
from bgproxy.cli.failure import NotAllowed, Refused, Unreachable
from bgproxy.cli.target import parse_target

from . import examples
from .admin import Admin, serving, sse


def client(admin: Admin, token: str | None = None) -> Client:
    return Client(parse_target(admin.url), token)


def test_a_change_is_sent_as_json_without_what_was_not_said(admin: Admin) -> None:
    admin.says("POST /admin/switch", {"generation": 2})
    assert client(admin, "t0ken").send("POST", "/admin/switch", {"to": "green", "force": None}) == {
        "generation": 2
    }
    assert admin.last.body == {"to": "green"}
    assert admin.last.headers["Content-Type"] == "application/json"
    assert admin.last.headers["Authorization"] == "Bearer t0ken"


def test_a_question_has_no_body_and_only_the_parameters_that_were_given(admin: Admin) -> None:
    admin.says("GET /admin/history", {"history": []})
    client(admin).get("/admin/history", limit=5, service=None)
    assert (admin.last.path, admin.last.body) == ("/admin/history?limit=5", None)
    assert "Authorization" not in admin.last.headers


def test_a_unix_socket_is_asked_under_a_name_that_is_not_foreign(tmp_path: Path) -> None:
    with serving(Admin(), tmp_path / "admin.sock") as admin:
        admin.says("GET /admin/status", examples.status())
        assert client(admin).status()["generation"] == 2
        assert admin.last.headers["Host"] == "localhost"


def test_a_problem_document_is_raised_as_what_it_means(admin: Admin) -> None:
    admin.refuses(
        "POST /admin/switch", 409, "The target pool is not healthy", "green", upstreams=[{"upstream": "g"}]
    )
    admin.refuses("GET /admin/status", 401, "No token", "send one")
    with pytest.raises(Refused) as refused:
        client(admin).send("POST", "/admin/switch", {})
    assert refused.value.problem["upstreams"] == [{"upstream": "g"}]
    with pytest.raises(NotAllowed, match="send one"):
        client(admin).status()


def test_nobody_listening_is_said_with_where_to_look() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        Client(parse_target(f"http://127.0.0.1:{port}")).status()
    assert caught.value.format_message().splitlines() == [
        "Failed: The admin API does not answer",
        f"  http://127.0.0.1:{port}: Connection refused",
        "Is bgproxy running? --admin or BGPROXY_ADMIN says where its admin API is.",
    ]


def test_a_change_whose_answer_is_lost_is_not_repeated_and_not_called_undone(admin: Admin) -> None:
    admin.says("POST /admin/switch", None)
    with pytest.raises(Unreachable, match="before the answer") as caught:
        client(admin).send("POST", "/admin/switch", {})
    assert caught.value.hint == "Whether a change was made is in `bgproxy history`."
    assert len(admin.calls) == 1


def test_an_answer_that_does_not_come_is_given_up(admin: Admin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = Client(parse_target(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        with pytest.raises(Unreachable, match="no answer in time"):
            slow.get("/admin/status", timeout_s=0.05)


@pytest.mark.parametrize("status", [200, 502])
def test_something_else_than_bgproxy_is_recognised(admin: Admin, status: int) -> None:
    admin.says("GET /admin/status", b"<html>", status)
    with pytest.raises(Unreachable, match=f"it answered {status} with text/event-stream instead of JSON"):
        client(admin).status()


def test_the_status_of_an_unknown_service_names_the_known_ones(admin: Admin) -> None:
    admin.says("GET /admin/status", examples.status(examples.service("web"), examples.service("api")))
    assert [one["service"] for one in client(admin).status("api")["services"]] == ["api"]
    with pytest.raises(Refused, match="there is no service 'wbe': choose one of api, web") as refused:
        client(admin).status("wbe")
    assert refused.value.problem["type"] == "urn:bgproxy:problem:not-found"


def test_kept_events_are_read_from_where_the_last_one_was(admin: Admin) -> None:
    admin.says("GET /admin/events", sse(examples.event(8, "one"), examples.event(9, "two")))
    found = list(client(admin).events(follow=False, after="7"))
    assert [(event.id, event.kind, event.data["text"]) for event in found] == [
        ("8", "switch", "one"),
        ("9", "switch", "two"),
    ]
    assert admin.last.headers["Last-Event-ID"] == "7"
    assert admin.last.path == "/admin/events?follow=false"
