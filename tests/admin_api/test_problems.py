from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp import web

from bgproxy.admin_api.access import Forbidden, Unauthenticated, WrongToken
from bgproxy.admin_api.content import TooLarge, TooSlow
from bgproxy.admin_api.problems import plain_problem, problem
from bgproxy.admin_api.throttle import TooManyCalls
from bgproxy.errors import (
    ConfigError,
    Conflict,
    ControlError,
    HoldTimedOut,
    Invalid,
    NotFound,
    NotHealthy,
    Problem,
    StateError,
)


def members(response: web.Response) -> dict[str, Any]:
    assert response.content_type == "application/problem+json"
    assert isinstance(response.body, bytes)
    body: dict[str, Any] = orjson.loads(response.body)
    assert body["status"] == response.status
    return body


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Invalid, 422, "invalid"),
        (NotFound, 404, "not-found"),
        (Conflict, 409, "conflict"),
        (NotHealthy, 409, "not-healthy"),
        (HoldTimedOut, 409, "hold-timed-out"),
        (StateError, 503, "state-error"),
        (Forbidden, 403, "forbidden"),
        (Unauthenticated, 401, "unauthenticated"),
        (WrongToken, 401, "wrong-token"),
        (TooLarge, 413, "too-large"),
        (TooSlow, 408, "too-slow"),
        (TooManyCalls, 429, "too-many-calls"),
    ],
)
def test_every_error_has_a_type_of_its_own(error: type[ControlError], status: int, kind: str) -> None:
    body = members(problem(error("what is wrong", generation=5)))
    assert body == {
        "type": f"urn:bgproxy:problem:{kind}",
        "title": error.title,
        "status": status,
        "detail": "what is wrong",
        "generation": 5,
    }


def test_who_needs_a_token_is_told_the_scheme() -> None:
    assert problem(Unauthenticated("x")).headers["WWW-Authenticate"] == "Bearer"
    assert "WWW-Authenticate" not in problem(Forbidden("x")).headers


def test_who_calls_too_often_is_told_when_to_come_back() -> None:
    answer = problem(TooManyCalls("x", retry_after=7))
    assert (answer.headers["Retry-After"], members(answer)["retry_after"]) == ("7", 7)
    assert "Retry-After" not in problem(StateError("x")).headers


def test_a_configuration_error_has_a_row_for_each_problem() -> None:
    error = ConfigError([Problem("workers", "is no number", 3), Problem("", "is empty")], "c.yaml")
    body = members(problem(error))
    assert body["status"] == 422
    assert body["problems"] == [
        {"line": 3, "path": "workers", "message": "is no number"},
        {"line": None, "path": "", "message": "is empty"},
    ]


def test_what_http_itself_refuses_looks_the_same() -> None:
    response = plain_problem(405, "Method Not Allowed", "why", headers={"Allow": "GET"})
    assert members(response)["type"] == "urn:bgproxy:problem:method-not-allowed"
    assert response.headers["Allow"] == "GET"
