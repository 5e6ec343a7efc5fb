from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from bgproxy.http1.error_pages import ErrorPages
from bgproxy.http1.fields import request_fields
from bgproxy.http1.framing import NONE, response_body
from bgproxy.http1.responses import PHRASES, error_response, wants_json
from bgproxy.model import ErrorPage
from tests.http1.feeding import accepted_response

DATE = b"Fri, 20 Nov 2026 06:43:15 GMT"


@pytest.mark.parametrize("status", PHRASES)
@pytest.mark.parametrize("json_wanted", [False, True])
def test_an_error_is_a_whole_response(status: int, json_wanted: bool) -> None:
    data = error_response(status, "größer als erlaubt", DATE, json=json_wanted)
    head = accepted_response(data)
    assert head.status == status
    assert response_body(b"GET", status, head.fields) == len(data) - head.size
    assert head.fields.get(b"cache-control") == b"no-store"
    assert head.fields.get(b"retry-after") is None
    assert not head.fields.close


def test_a_text_error_says_what_and_why() -> None:
    data = error_response(503, "no upstream is healthy", DATE)
    assert data.endswith(b"\r\n\r\n503 Service Unavailable: no upstream is healthy\n")
    assert accepted_response(data).fields.get(b"content-type") == b"text/plain; charset=utf-8"


def test_a_json_error_is_problem_json() -> None:
    """RFC 9457."""
    data = error_response(503, 'no "upstream"\n', DATE, json=True)
    head = accepted_response(data)
    assert head.fields.get(b"content-type") == b"application/problem+json"
    expected = {"status": 503, "title": "Service Unavailable", "detail": 'no "upstream"\n'}
    assert json.loads(data[head.size :]) == expected


def test_an_answer_to_head_has_the_head_alone() -> None:
    whole, head = (
        error_response(404, "nothing here", DATE),
        error_response(404, "nothing here", DATE, head_only=True),
    )
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    parsed = accepted_response(head)
    assert parsed.fields.content_length == len(whole) - len(head)
    assert response_body(b"HEAD", 404, parsed.fields) == NONE


@pytest.mark.parametrize("status", PHRASES)
def test_the_phrase_is_the_present_name_of_the_status(status: int) -> None:
    """RFC 9110 has renamed two of those that older versions of Python know by their old names."""
    line = error_response(status, "why", DATE).split(b"\r\n", 1)[0].decode()
    old = {413: "Content Too Large", 414: "URI Too Long"}
    assert line == f"HTTP/1.1 {status} {old.get(status, HTTPStatus(status).phrase)}"


def test_an_answer_has_the_date() -> None:
    """RFC 9110 section 6.6.1."""
    assert accepted_response(error_response(503, "why", DATE)).fields.get(b"date") == DATE


def test_an_own_page_stands_for_the_answer_and_its_length_is_counted_in_bytes() -> None:
    pages = ErrorPages(
        [ErrorPage((503,), "text/html; charset=utf-8", "<p>größer: {detail} ({request_id})</p>")]
    )
    data = error_response(503, "zurück um <9>", DATE, retry_after_s=60, pages=pages, request_id=b"r-1")
    head = accepted_response(data)
    body = "<p>größer: zurück um &lt;9&gt; (r-1)</p>".encode()
    assert data[head.size :] == body
    assert head.fields.content_length == len(body)
    assert head.fields.get(b"content-type") == b"text/html; charset=utf-8"
    assert head.fields.get(b"retry-after") == b"60"
    assert head.fields.get(b"cache-control") == b"no-store"
    assert error_response(
        503, "zurück um <9>", DATE, pages=pages, request_id=b"r-1", head_only=True
    ).endswith(b"\r\n\r\n")


def test_where_no_page_fits_the_answer_is_as_without_pages() -> None:
    pages = ErrorPages([ErrorPage((503,), "text/html", "<p>")])
    assert error_response(502, "why", DATE, pages=pages).endswith(b"502 Bad Gateway: why\n")
    problem = error_response(503, "why", DATE, json=True, pages=pages)
    assert accepted_response(problem).fields.get(b"content-type") == b"application/problem+json"


def test_no_byte_of_a_request_id_makes_a_line_or_an_error() -> None:
    pages = ErrorPages([ErrorPage((400,), "text/plain", "{request_id}")])
    data = error_response(400, "why", DATE, pages=pages, request_id=bytes(range(0x20, 0x100)))
    head = accepted_response(data)
    assert data[head.size :].decode() == bytes(range(0x20, 0x100)).decode("latin-1")


def test_closing_and_retrying_are_said_when_asked_for() -> None:
    fields = accepted_response(error_response(503, "wait", DATE, close=True, retry_after_s=7)).fields
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
        (b"Accept: image/png\r\nAccept: text/html\r\n", False),
        (b"Accept: text/html\r\nAccept: application/json\r\n", True),
        (b"Accept:\r\n", False),
        (b"Accept: \r\n", False),
    ],
)
def test_people_get_text_and_programs_get_json(accept: bytes, wanted: bool) -> None:
    assert wants_json(request_fields(b"Host: a\r\n" + accept).lower) is wanted
