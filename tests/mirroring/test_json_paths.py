from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.mirroring import json_paths
from bgproxy.mirroring.json_paths import (
    PATH_CHARACTERS,
    VALUES,
    PathDifference,
    TooMany,
    differences,
    parse,
)

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def found(active: Any, idle: Any, *ignored: str) -> list[PathDifference]:
    return [each for each in differences(active, idle, tuple(map(parse, ignored))) if each is not None]


def paths(active: Any, idle: Any, *ignored: str) -> list[str]:
    return [each.path for each in found(active, idle, *ignored)]


def test_every_place_that_differs_is_told_with_the_kinds_that_are_there() -> None:
    active = {"name": "a", "items": [{"price": 1}, {"price": 2}], "on": True, "gone": None}
    idle = {"name": "b", "items": [{"price": 1}, {"price": "2"}], "on": 1, "new": [1]}
    assert found(active, idle) == [
        PathDifference("$.name", "string", "string"),
        PathDifference("$.items[1].price", "number", "string"),
        PathDifference("$.on", "boolean", "number"),
        PathDifference("$.gone", "null", "absent"),
        PathDifference("$.new", "absent", "array of 1"),
    ]


def test_values_are_never_told() -> None:
    told = repr(found({"email": "ann@example.com"}, {"email": "bob@example.com"}))
    assert "example.com" not in told


def test_lists_of_different_lengths_differ_as_a_whole() -> None:
    assert found({"a": [1, 2]}, {"a": [0]}) == [PathDifference("$.a", "array of 2", "array of 1")]


def test_roots_may_differ() -> None:
    assert found([], {}) == [PathDifference("$", "array of 0", "object")]


def test_the_order_of_members_does_not_count() -> None:
    assert paths({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []


def test_one_and_one_point_zero_are_the_same_number() -> None:
    assert paths([1], [1.0]) == []


@pytest.mark.parametrize(
    ("ignored", "left"),
    [
        ((), ["$.time", "$.items[0].id", "$.items[1].id", "$.items[1].name"]),
        (("$.time", "$.items[*].id"), ["$.items[1].name"]),
        (("$.items[1]",), ["$.time", "$.items[0].id"]),
        (("$.items",), ["$.time"]),
        (
            ("$.items[*].id.deeper", "$.other"),
            ["$.time", "$.items[0].id", "$.items[1].id", "$.items[1].name"],
        ),
    ],
)
def test_what_is_ignored_does_not_count(ignored: tuple[str, ...], left: list[str]) -> None:
    active = {"time": 1, "items": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    idle = {"time": 2, "items": [{"id": 3, "name": "a"}, {"id": 4, "name": "c"}]}
    assert paths(active, idle, *ignored) == left


def test_what_is_ignored_may_be_absent() -> None:
    assert paths({"time": 1}, {}, "$.time") == []


def test_an_index_is_no_member_of_that_name() -> None:
    assert paths({"0": 1}, {"0": 2}, "$[0]") == ["$.0"]
    assert paths({"a": 1}, {"a": 2}, "$[*]") == ["$.a"]


def test_odd_names_are_quoted_and_long_ones_cut() -> None:
    assert paths({'a "b"': 1}, {}) == ['$["a \\"b\\""]']
    (path,) = paths(
        {"x" * 100: {"y" * 100: {"z" * 100: {"w" * 100: 1}}}}, {"x" * 100: {"y" * 100: {"z" * 100: {}}}}
    )
    assert len(path) == PATH_CHARACTERS
    assert path.endswith("…")


def test_depth_does_not_matter() -> None:
    deep: Any = 1
    other: Any = 2
    for _ in range(5000):
        deep, other = [deep], [other]
    assert len(paths(deep, other)) == 1


def test_a_document_with_too_many_values_is_given_up() -> None:
    many = list(range(VALUES))
    with pytest.raises(TooMany):
        found([*many, 1], [*many, 2])


@given(documents)
def test_a_document_is_like_itself(document: Any) -> None:
    assert paths(document, json.loads(json.dumps(document))) == []


@given(documents, documents)
def test_both_directions_find_the_same_places(one: Any, other: Any) -> None:
    there, back = found(one, other), found(other, one)
    assert sorted((each.path, each.active, each.idle) for each in there) == sorted(
        (each.path, each.idle, each.active) for each in back
    )
    if not there:
        assert one == other


def test_a_path_is_read_step_by_step() -> None:
    assert parse("$.items[*].id") == ("items", None, "id")
    assert parse("$[3].a-b_c") == (3, "a-b_c")
    assert json_paths.kind(None) == "null"
