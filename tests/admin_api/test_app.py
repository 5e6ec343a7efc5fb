"""What every call goes through, whichever it is."""

from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import replace
from types import SimpleNamespace

import aiohttp
import pytest

from bgproxy.admin_api import app
from bgproxy.admin_api.app import KEY_CHARACTERS
from bgproxy.admin_api.routes import CHANGES, VIEWS, ChangeRoute, ViewRoute
from bgproxy.model import Admin, Role

from .server import TOKENS, Server, serving

SLOW = Admin(requests_per_s=1.0)
ORDER = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]


def some(path: str) -> str:
    return path.replace("{service}", "web").replace("{pool}", "green")


# Who may


@pytest.mark.parametrize("route", [*CHANGES, *VIEWS], ids=lambda route: f"{route.path}")
async def test_every_call_needs_its_role(guarded: Server, route: ChangeRoute | ViewRoute) -> None:
    method = route.method if isinstance(route, ChangeRoute) else "GET"
    path, needed = route.path, route.role
    if path == "/admin/events":
        path += "?follow=false"
    nobody = await guarded.call(method, some(path))
    assert nobody.status == (200 if needed is None else 401)
    for role in ORDER:
        answer = await guarded.call(
            method, some(path), {"dry_run": True} if method != "GET" else None, role=role
        )
        allowed = needed is None or ORDER.index(role) >= ORDER.index(needed)
        assert (answer.status == 403) is not allowed, answer


@pytest.mark.parametrize(
    ("given", "kind"),
    [(None, "unauthenticated"), ("Bearer wrong-token", "wrong-token"), ("Basic abc", "unauthenticated")],
)
async def test_who_is_not_known_is_told_how_to_be(guarded: Server, given: str | None, kind: str) -> None:
    headers = {} if given is None else {"Authorization": given}
    answer = await guarded.call("GET", "/admin/status", headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json["type"] == f"urn:bgproxy:problem:{kind}"


async def test_a_viewer_cannot_switch(guarded: Server) -> None:
    answer = await guarded.call("POST", "/admin/switch", role=Role.VIEWER)
    assert (answer.status, answer.json["detail"]) == (403, "the-viewer is viewer; this call needs operator")
    assert guarded.stage.active() == "blue"
    assert (await guarded.stage.store.history())[0].action == "first_start"


async def test_who_switched_is_in_the_history(guarded: Server) -> None:
    await guarded.call("POST", "/admin/switch", {"reason": "release 7"}, role=Role.OPERATOR)
    entry = (await guarded.stage.store.history())[0]
    assert (entry.actor, entry.reason) == ("the-operator", "release 7")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.com"},
        {"Origin": "http://evil.example.com"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/admin/switch"),
        ("GET", "/admin/status"),
        ("GET", "/admin/openapi.json"),
        ("GET", "/metrics"),
    ],
)
async def test_a_browser_cannot_be_made_to_call_for_somebody_else(
    api: Server, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = await api.call(method, path, headers=headers)
    assert (answer.status, answer.json["type"]) == (403, "urn:bgproxy:problem:forbidden")
    assert api.stage.active() == "blue"


# How often


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no bucket fills."""
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: 1000.0))


@pytest.mark.usefixtures("stopped_clock")
async def test_more_calls_than_are_allowed_are_told_when_to_come_back() -> None:
    async with serving(admin=SLOW) as api:
        answers = [await api.call("GET", "/admin/services") for _ in range(3)]
        assert [each.status for each in answers] == [200, 200, 429]
        assert answers[-1].json["type"] == "urn:bgproxy:problem:too-many-calls"
        assert answers[-1].headers["Retry-After"] == str(answers[-1].json["retry_after"]) == "1"


@pytest.mark.parametrize("path", ["/metrics", "/admin/nothing", "/admin/openapi.json"])
@pytest.mark.usefixtures("stopped_clock")
async def test_every_call_counts(path: str) -> None:
    async with serving(admin=SLOW) as api:
        for _ in range(2):
            assert (await api.call("GET", path)).status != 429
        assert (await api.call("GET", path)).status == 429
        assert (await api.call("POST", "/admin/switch")).status == 429
        assert api.stage.active() == "blue"


@pytest.mark.usefixtures("stopped_clock")
async def test_whether_bgproxy_lives_can_always_be_asked() -> None:
    async with serving(admin=SLOW) as api:
        for _ in range(10):
            await api.call("GET", "/metrics")
        assert (await api.call("GET", "/healthz")).status == 200
        assert (await api.call("GET", "/readyz")).status == 200


@pytest.mark.usefixtures("stopped_clock")
async def test_tokens_cannot_be_tried_out() -> None:
    """Once a client is over the limit, not even the right one is looked at."""
    async with serving(admin=replace(SLOW, requests_per_s=10.0, tokens=TOKENS)) as api:
        wrong = {"Authorization": "Bearer wrong"}
        assert [(await api.call("GET", "/metrics", headers=wrong)).status for _ in range(3)] == [
            401,
            401,
            429,
        ]
        assert (await api.call("GET", "/metrics", role=Role.ADMIN)).status == 429
        assert (await api.call("GET", "/healthz")).status == 200


@pytest.mark.usefixtures("stopped_clock")
async def test_a_token_whose_role_does_not_suffice_is_no_failure() -> None:
    async with serving(admin=replace(SLOW, requests_per_s=5.0, tokens=TOKENS)) as api:
        for _ in range(9):
            assert (await api.call("POST", "/admin/switch", role=Role.VIEWER)).status == 403
        assert (await api.call("GET", "/metrics", role=Role.VIEWER)).status == 200


# Bodies


@pytest.mark.parametrize("route", CHANGES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_member_that_is_not_known_is_refused_by_name(api: Server, route: ChangeRoute) -> None:
    answer = await api.call(route.method, some(route.path), {"wieght": 5})
    assert answer.status == 422
    assert "wieght" in [each["path"] for each in answer.json["problems"]]
    assert api.stage.board.desired.generation == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"\xff", "body"),
        (b'{"reason": "\\ud800"}', "body"),
        (b'{"dry_run": "perhaps"}', "dry_run"),
        (b'{"if_generation": 1.5}', "if_generation"),
        (b'{"hold": {"max_requests": 1000000000000000000000}}', "max_requests"),
        (b'{"hold": {"timeout": "1h"}}', "timeout"),
        (b'{"hold": "soon"}', "soon"),
        (b'{"reason": "' + b"x" * 1001 + b'"}', "reason"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_with_the_place(api: Server, data: bytes, told: str) -> None:
    answer = await api.call("POST", "/admin/switch", data=data)
    assert answer.status == 422
    assert told in answer.json["detail"]
    assert api.stage.active() == "blue"


@pytest.mark.parametrize("data", [None, b"", b"{}"])
async def test_an_empty_body_is_enough_where_the_answer_is_obvious(api: Server, data: bytes | None) -> None:
    answer = await api.call("POST", "/admin/switch", data=data)
    assert (answer.status, answer.json["to"]) == (200, "green")
    back = await api.call("POST", "/admin/rollback", data=data)
    assert (back.status, back.json["to"]) == (200, "blue")


async def test_a_body_that_is_too_large_is_not_read(api: Server) -> None:
    answer = await api.call("POST", "/admin/switch", data=io.BytesIO(b" " * (Admin().body_bytes + 1)))
    assert (answer.status, answer.json["type"]) == (413, "urn:bgproxy:problem:too-large")


async def test_a_body_needs_no_content_type(api: Server) -> None:
    """As curl sends it: as a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await api.call("POST", "/admin/switch", {"to": "green"}, headers=headers)
    assert answer.status == 200


# Errors


async def test_what_is_not_there_is_a_problem(api: Server) -> None:
    answer = await api.call("GET", "/admin/nothing")
    assert (answer.status, answer.json["type"]) == (404, "urn:bgproxy:problem:not-found")
    assert answer.json["detail"] == "GET /admin/nothing: see /admin/openapi.json"


async def test_a_method_that_is_not_allowed_is_a_problem_that_names_those_that_are(api: Server) -> None:
    answer = await api.call("GET", "/admin/switch")
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"


async def test_a_defect_of_ours_is_a_problem_without_details(
    api: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("internal detail")

    monkeypatch.setattr(api.stage.engine, "traffic", broken)
    with caplog.at_level(logging.ERROR):
        answer = await api.call("GET", "/admin/status")
    assert answer.status == 500
    assert "internal detail" not in answer.text
    assert "internal detail" in caplog.text


async def test_a_store_that_fails_is_a_problem_and_changes_nothing(api: Server) -> None:
    api.stage.store.fails = True
    answer = await api.call("POST", "/admin/switch")
    assert (answer.status, answer.json["type"]) == (503, "urn:bgproxy:problem:state-error")
    assert api.stage.active() == "blue"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\xff%ff HTTP/1.1",
        b"GET /%ed%a0%80 HTTP/1.1",
        b"GET //x?%ff HTTP/1.1",
        b"\xc3\xbc\xff /admin/status HTTP/1.1",
        b"GET /admin/status HTTP/1.1\r\nOrigin: http://\xff",
        b"GET /admin/status HTTP/1.1\r\nHost: \xff",
        b"POST /admin/switch HTTP/1.1\r\nIdempotency-Key: \xff",
        b"GET /admin/services/%ff HTTP/1.1",
        b"no request at all",
    ],
)
async def test_bytes_that_are_no_text_are_answered_too(api: Server, head: bytes) -> None:
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    host_line = b"" if b"Host" in head else b"\r\nHost: localhost"
    writer.write(head + host_line + b"\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer


# Idempotency-Key


def key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


async def test_a_repeated_call_gets_the_same_answer_and_does_nothing(api: Server) -> None:
    first = await api.call("POST", "/admin/switch", {"reason": "once"}, headers=key("k1"))
    again = await api.call("POST", "/admin/switch", {"reason": "once"}, headers=key("k1"))
    assert (first.status, again.status) == (200, 200)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert again.json.items() <= first.json.items()
    assert again.json["generation"] == 2
    assert (api.stage.active(), api.stage.board.desired.generation) == ("green", 2)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/admin/switch", {"reason": "other"}),
        ("POST", "/admin/switch?x=1", {"reason": "once"}),
        ("POST", "/admin/rollback", {"reason": "once"}),
    ],
)
async def test_a_key_is_good_for_one_call_only(
    api: Server, method: str, path: str, body: dict[str, str]
) -> None:
    await api.call("POST", "/admin/switch", {"reason": "once"}, headers=key("k1"))
    answer = await api.call(method, path, body, headers=key("k1"))
    assert answer.status == 422
    assert "use a new one" in answer.json["detail"]
    assert api.stage.active() == "green"


async def test_calls_at_once_with_one_key_are_one_call(api: Server) -> None:
    answers = await asyncio.gather(*(api.call("POST", "/admin/switch", headers=key("k1")) for _ in range(10)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert [answer.status for answer in answers].count(200) >= 1
    assert (api.stage.active(), api.stage.board.desired.generation) == ("green", 2)
    assert (await api.call("POST", "/admin/switch", headers=key("k1"))).status == 200
    assert api.stage.board.desired.generation == 2


async def test_what_makes_no_generation_is_remembered_as_well(api: Server) -> None:
    first = await api.call("POST", "/admin/hold", {"timeout": "60s"}, headers=key("k1"))
    await api.call("POST", "/admin/release-hold")
    again = await api.call("POST", "/admin/hold", {"timeout": "60s"}, headers=key("k1"))
    assert again.json == first.json
    assert api.stage.worker.service().hold is None


async def test_a_refusal_and_a_dry_run_are_not_remembered(api: Server) -> None:
    await api.stage.fail("web/green/0")
    assert (await api.call("POST", "/admin/switch", headers=key("k1"))).status == 409
    await api.stage.backends["web/green/0"].open()
    await api.stage.check()
    assert (await api.call("POST", "/admin/switch", {"dry_run": True}, headers=key("k1"))).status == 200
    assert (await api.call("POST", "/admin/switch", headers=key("k1"))).json["generation"] == 2


@pytest.mark.parametrize("value", ["", "x" * (KEY_CHARACTERS + 1), "\udcff"])
async def test_a_key_that_cannot_be_kept_is_refused(api: Server, value: str) -> None:
    answer = await api.call("POST", "/admin/switch", headers=key(value))
    assert answer.status == 422
    assert api.stage.active() == "blue"


async def test_a_client_that_leaves_does_not_undo_its_call(api: Server) -> None:
    api.stage.store.open.clear()
    call = asyncio.ensure_future(api.call("POST", "/admin/switch"))
    await api.stage.store.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    api.stage.store.open.set()
    await api.stage.until(lambda: bool(api.stage.told("switch")))
    assert api.stage.active() == "green"


async def test_many_calls_go_over_one_connection(api: Server) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        for path in ("/healthz", "/admin/nothing", "/admin/status"):
            async with session.get(api.url + path) as response:
                await response.read()
                assert response.connection is None or not response.connection.closed
