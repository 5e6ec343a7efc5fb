from __future__ import annotations

from collections.abc import Generator

import pytest

from bgproxy.mirroring.answer import Answer
from bgproxy.mirroring.compare import Body, Comparison, HeaderDifference, compare, values
from bgproxy.mirroring.json_paths import VALUES, VALUES_AT_ONCE, PathDifference
from bgproxy.mirroring.live import LiveMirror
from bgproxy.model import Mirror
from tests.mirroring.answers import LIMIT_BYTES, answer, begun, json, message

SAME = Comparison(status_differs=False, headers=(), body=Body.SAME)


def compared(
    active: Answer, idle: Answer, *ignored: str, headers: tuple[str, ...] = ("content-type",)
) -> Comparison:
    settings = Mirror(share=1.0, body_bytes=LIMIT_BYTES, headers=headers, ignore_json=ignored)
    return finished(compare(active, idle, LiveMirror(settings)))


def finished(comparison: Generator[None, None, Comparison]) -> Comparison:
    while True:
        try:
            next(comparison)
        except StopIteration as end:
            found: Comparison = end.value
            return found


def test_equal_answers_are_the_same() -> None:
    found = compared(answer(message("abc")), answer(message("abc")))
    assert found == SAME
    assert found.is_same


def test_a_status_differs() -> None:
    found = compared(answer(message("abc")), answer(message("abc", status=500)))
    assert found.status_differs
    assert not found.is_same


def test_only_the_chosen_headers_count() -> None:
    one, other = answer(message("", "Date: 1", "Content-Type: a")), answer(message("", "Date: 2"))
    assert compared(one, other, headers=()).is_same
    assert compared(one, other).headers == (HeaderDifference("content-type", "a", None),)


def test_all_values_of_a_header_count_in_their_order() -> None:
    one, other = answer(message("", "Vary: a", "vary:  b ")), answer(message("", "Vary: b", "Vary: a"))
    assert one.head is not None
    assert values(one.head, b"vary") == [b"a", b"b"]
    assert compared(one, other, headers=("vary",)).headers == (HeaderDifference("vary", "a, b", "b, a"),)


def test_values_that_may_be_secret_are_not_told() -> None:
    one = answer(message("", "Set-Cookie: session=hunter2", "Location: /login?code=hunter2"))
    found = compared(one, answer(message("", "Location: /")), headers=("set-cookie", "location"))
    assert found.headers == (
        HeaderDifference("set-cookie", "(not shown)", None),
        HeaderDifference("location", "/login", "/"),
    )


def test_long_values_are_cut() -> None:
    (found,) = compared(answer(message("", "Content-Type: " + "x" * 500)), answer(message(""))).headers
    assert found.active is not None
    assert len(found.active) == 80


def test_bodies_that_are_no_json_are_compared_by_their_bytes() -> None:
    assert compared(answer(message('{"a": 1}')), answer(message('{"a":1}'))).body is Body.DIFFERENT


def test_json_is_compared_by_what_it_means() -> None:
    assert compared(json('{"a": 1, "b": 2}'), json('{"b":2,"a":1}')) == SAME
    found = compared(json('{"a": 1}'), json('{"a": 2}'))
    assert (found.body, found.paths) == (Body.DIFFERENT, (PathDifference("$.a", "number", "number"),))


def test_json_that_differs_only_where_it_may_is_the_same() -> None:
    one, other = json('{"time": 1, "items": [{"id": 1}]}'), json('{"time": 2, "items": [{"id": 2}]}')
    assert compared(one, other, "$.time", "$.items[*].id") == SAME
    assert not compared(one, other, "$.time").is_same


def test_of_many_places_the_first_are_told() -> None:
    found = compared(json(str([0] * 20)), json(str([1] * 20)))
    assert [each.path for each in found.paths] == [f"$[{index}]" for index in range(5)]


def test_json_against_something_else_differs() -> None:
    found = compared(json('{"a": 1}'), answer(message('{"a":1}', "Content-Type: text/html")))
    assert found.body is Body.DIFFERENT
    assert [each.name for each in found.headers] == ["content-type"]


def test_compressed_json_is_compared_by_its_bytes() -> None:
    one, other = (json(text, "Content-Encoding: gzip") for text in ('{"a": 1}', '{"a":1}'))
    assert compared(one, other).body is Body.DIFFERENT


@pytest.mark.parametrize("text", ["", "{", "[1", "NaN", "1e999", "[" * 99, '{"a": "\\ud800"}'])
def test_what_only_says_that_it_is_json_is_compared_by_its_bytes(text: str) -> None:
    assert compared(json(text), json(text)) == SAME
    assert compared(json(text), json('{"a": 1}')).body is Body.DIFFERENT


def test_json_that_is_nested_beyond_all_reason_is_compared_by_its_bytes() -> None:
    one, other = (
        answer(message("[" * depth + "]" * depth, "Content-Type: application/json"), limit_bytes=10**6)
        for depth in (50_000, 50_001)
    )
    found = finished(compare(one, other, LiveMirror(Mirror(share=1.0, body_bytes=10**6))))
    assert (found.body, found.paths) == (Body.DIFFERENT, ())


def test_json_with_too_many_values_is_not_called_equal() -> None:
    text = str([1] * (VALUES + 1))
    one, other = (
        answer(message(each, "Content-Type: application/json"), limit_bytes=10**6)
        for each in (text, text + " ")
    )
    found = finished(compare(one, other, LiveMirror(Mirror(share=1.0, body_bytes=10**6))))
    assert found.body is Body.TOO_LARGE


def test_of_a_larger_body_nothing_is_compared_and_that_is_said() -> None:
    large = "x" * (LIMIT_BYTES + 1)
    for one, other in ((large, large), (large, "x"), ("x", large)):
        found = compared(answer(message(one)), answer(message(other)))
        assert found.body is Body.TOO_LARGE
        assert found.is_same


def test_of_a_body_without_an_end_nothing_is_compared_and_that_is_said() -> None:
    found = compared(begun(message("abc"))[0], answer(message("xyz")))
    assert found.body is Body.UNFINISHED


def test_looking_into_json_pauses_now_and_then() -> None:
    text = str([1] * VALUES_AT_ONCE * 4)
    one, other = (
        answer(message(each, "Content-Type: application/json"), limit_bytes=10**6)
        for each in (text, text + " ")
    )
    pauses = list(compare(one, other, LiveMirror(Mirror(share=1.0, body_bytes=10**6))))
    assert len(pauses) == 1 + 4
