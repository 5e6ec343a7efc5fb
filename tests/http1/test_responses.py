from __future__ import annotations

import json

import pytest

from bgproxy.http1.framing import NONE, response_body
from bgproxy.http1.head import request_fields
from bgproxy.http1.responses import error_response, wants_json
from tests.http1.feeding import accepted_response


@pytest.mark.parametrize("status", [400, 404, 408, 414, 417, 431, 500, 501, 502, 503, 504, 505])
@pytest.mark.parametrize("json_wanted", [False, True])
def test_an_error_is_a_whole_response(status: int, json_wanted: bool) -> None:
    data = error_response(status, "größer als erlaubt", json=json_wanted)
    head = accepted_response(data)
    assert head.status == status
    assert response_body(b"GET", status, head.fields) == len(data) - head.size
    assert head.fields.get(b"cache-control") == b"no-store"
    assert head.fields.get(b"retry-after") is None
    assert not head.fields.close


def test_a_text_error_says_what_and_why() -> None:
    data = error_response(503, "no upstream is healthy")
    assert data.endswith(b"\r\n\r\n503 Service Unavailable: no upstream is healthy\n")
    assert accepted_response(data).fields.get(b"content-type") == b"text/plain; charset=utf-8"


def test_a_json_error_is_problem_json() -> None:
    """RFC 9457."""
    data = error_response(503, 'no "upstream"\n', json=True)
    head = accepted_response(data)
    assert head.fields.get(b"content-type") == b"application/problem+json"
    expected = {"status": 503, "title": "Service Unavailable", "detail": 'no "upstream"\n'}
    assert json.loads(data[head.size :]) == expected


def test_an_answer_to_head_has_the_head_alone() -> None:
    whole, head = error_response(404, "nothing here"), error_response(404, "nothing here", head_only=True)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    parsed = accepted_response(head)
    assert parsed.fields.content_length == len(whole) - len(head)
    assert response_body(b"HEAD", 404, parsed.fields) == NONE


def test_closing_and_retrying_are_said_when_asked_for() -> None:
    fields = accepted_response(error_response(503, "wait", close=True, retry_after_s=7)).fields
    assert fields.close
    assert fields.get(b"retry-after") == b"7"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"", False),
        (b"Accept: */*\r\n", False),
        (b"Accept: text/html, */*\r\n", False),
        (b"Accept: text/plain\r\n", False),
        (b"Accept: application/json\r\n", True),
        (b"ACCEPT: Application/Problem+JSON, text/html\r\n", True),
        (b"Accept: application/x-protobuf\r\n", True),
        (b"X-Accept: application/json\r\n", False),
    ],
)
def test_people_get_text_and_programs_get_json(accept: bytes, wanted: bool) -> None:
    assert wants_json(request_fields(b"Host: a\r\n" + accept).lower) is wanted
