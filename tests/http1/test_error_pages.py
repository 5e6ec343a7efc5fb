from __future__ import annotations

import json
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.http1.error_pages import ErrorPages
from bgproxy.model import ErrorPage

HTML = "text/html; charset=utf-8"
JSON = "application/json"
ATTACK = """"><script>alert('{request_id}')</script>&amp;\\"""


def rendered(page: ErrorPage, *, detail: str = "why", request_id: str = "r-1", json: bool = False) -> str:
    found = ErrorPages([page]).render(503, "Service Unavailable", detail, request_id, json=json)
    assert found is not None
    content_type, body = found
    assert content_type == page.content_type
    return body


def test_four_words_are_filled_in_as_often_as_they_stand_there() -> None:
    page = ErrorPage((503,), HTML, "{status} {title}: {detail} [{request_id}] {status}")
    assert rendered(page) == "503 Service Unavailable: why [r-1] 503"


@pytest.mark.parametrize(
    "body",
    [
        "body { color: red } .x{margin:0}",
        "{}",
        "{unknown}",
        "{ status }",
        "{{",
        "%s %(status)s ${status.x} \\1 \\g<0>",
        "{status!r} {status.__class__} {0}",
    ],
)
def test_everything_else_of_a_template_stays_as_it_is(body: str) -> None:
    assert rendered(ErrorPage((503,), HTML, body)) == body


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    page = ErrorPage((503,), "text/plain", "{detail}|{request_id}")
    assert rendered(page, detail="{request_id} {status}", request_id="{detail} \\1") == (
        "{request_id} {status}|{detail} \\1"
    )


@pytest.mark.parametrize("content_type", [HTML, "TEXT/HTML", "application/xhtml+xml"])
def test_in_html_nothing_that_is_filled_in_can_be_markup(content_type: str) -> None:
    body = rendered(
        ErrorPage((503,), content_type, '<p title="{detail}">{detail}</p><i>{request_id}</i>'),
        detail=ATTACK,
        request_id=ATTACK,
    )
    texts: list[str] = []
    attributes: list[str | None] = []
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            attributes.extend(value for _, value in attrs)

        def handle_data(self, data: str) -> None:
            texts.append(data)

    Reader().feed(body)
    assert (tags, attributes, texts) == (["p", "i"], [ATTACK], [ATTACK, ATTACK])


def test_in_xml_as_well() -> None:
    page = ErrorPage((503,), "application/problem+xml", "<p><a b='{detail}'/>{detail}</p>")
    root = ET.fromstring(rendered(page, detail=ATTACK))  # noqa: S314 - our own page
    assert (root[0].attrib, root[0].tail) == ({"b": ATTACK}, ATTACK)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_in_json_every_text_stays_the_text_that_it_was(text: str) -> None:
    page = ErrorPage((503,), "Application/Problem+JSON", '{"why": "{detail}", "status": {status}}')
    assert json.loads(rendered(page, detail=text, json=True)) == {"why": text, "status": 503}


def test_plain_text_is_not_escaped() -> None:
    assert rendered(ErrorPage((503,), "text/plain", "{detail}"), detail=ATTACK) == ATTACK


def chosen(pages: list[ErrorPage], status: int, *, json: bool = False) -> str | None:
    found = ErrorPages(pages).render(status, "", "", "", json=json)
    return None if found is None else found[1]


def test_the_first_page_for_a_status_stands_for_it() -> None:
    pages = [
        ErrorPage((503,), HTML, "of 503"),
        ErrorPage((502, 503, 504), HTML, "of gateways"),
        ErrorPage((504,), HTML, "too late"),
    ]
    told = [chosen(pages, status) for status in (503, 502, 504, 404)]
    assert told == ["of 503", "of gateways", "of gateways", None]


def test_a_client_that_wants_json_gets_the_first_page_that_is_json_or_none() -> None:
    html, first, second = (
        ErrorPage((503,), HTML, "h"),
        ErrorPage((503,), JSON, "1"),
        ErrorPage((503,), JSON, "2"),
    )
    assert chosen([html], 503, json=True) is None
    assert chosen([html, first, second], 503, json=True) == "1"
    assert chosen([html, first], 503) == "h"
    assert chosen([first, html], 503) == "1"


def test_without_pages_there_are_none() -> None:
    assert chosen([], 503) is None
