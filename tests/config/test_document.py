from __future__ import annotations

import pytest

from bgproxy.config import document
from bgproxy.config.document import Location, dotted, read


def problems(text: str, **environ: str) -> list[str]:
    return [problem.render("f") for problem in read(text, environ).problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("1.5", 1.5),
        ("true", True),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        (".nan", ".nan"),
    ],
)
def test_plain_values_have_the_types_of_yaml_1_2(text: str, value: object) -> None:
    assert read(f"key: {text}", {}).data == {"key": value}


def test_keys_are_text_whatever_they_look_like() -> None:
    assert read("1: a\ntrue: b\n", {}).data == {"1": "a", "true": "b"}


@pytest.mark.parametrize(
    ("location", "line"),
    [(("a",), 1), (("a", "b"), 2), (("a", "b", 1), 4), (("a", "c"), 5), (("a", "x", "y"), 1), ((), 1)],
)
def test_every_value_has_the_line_of_its_key_and_unknown_places_that_of_their_surroundings(
    location: Location, line: int
) -> None:
    assert read("a:\n  b:\n  - 1\n  - 2\n  c: {d: 3}\n", {}).line(location) == line


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}", "1"),
        ("x${A}y${B}", "x1y2"),
        ("${NONE:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${NONE:-}", ""),
        ("$${A} $A $", "${A} $A $"),
    ],
)
def test_variables_are_filled_in(text: str, expanded: str) -> None:
    found = read(f"key: '{text}'", {"A": "1", "B": "2", "EMPTY": ""})
    assert (found.data, found.problems) == ({"key": expanded}, [])


def test_a_variable_cannot_add_structure() -> None:
    assert read("key: ${A}", {"A": "1\nother: {x: [y]}"}).data == {"key": "1\nother: {x: [y]}"}


def test_a_missing_variable_is_named_at_its_line() -> None:
    assert problems("a: 1\nb: [x, '${GONE}']") == [
        "  f:2: b[1]: needs the environment variable GONE: set it, or write ${GONE:-default}"
    ]


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${1}", "${A-b}"])
def test_a_malformed_variable_is_an_error(text: str) -> None:
    assert "starts no variable" in problems(f"key: '{text}'", A="1")[0]


def test_a_repeated_key_is_an_error_at_its_second_line() -> None:
    assert problems("a:\n  b: 1\n  c: 2\n  b: 3") == [
        "  f:4: a.b: is written twice, first on line 2: keep one"
    ]


def test_merged_keys_rank_below_those_that_are_written_and_the_first_source_wins() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  c: 3\n  <<: [*x, *y]\n"
    found = read(text, {})
    assert found.problems == []
    assert found.data == {"x": {"a": 1, "b": 1}, "y": {"b": 2, "c": 2}, "z": {"a": 1, "b": 1, "c": 3}}
    assert found.line(("z", "a")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "f:1: is not YAML: while parsing a flow sequence"),
        ("a: 1\n b: 2", "f:2: is not YAML"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: *nothing", "found undefined alias"),
        ('a: "\\UFFFFFFFF"', "is not YAML"),
        ("a: \x07", "special characters are not allowed"),
        ("a: !!python/object:os.system {}", "tags mean nothing here"),
        ("a: !!int abc", "put it in quotes"),
        ("a: " + "9" * 5000, "put it in quotes"),
        ("[a]: 1", "has a key that is not text"),
        ("<<: 1", "`<<` takes a mapping"),
        ("[" * 5000, "nested deeper than 32 levels"),
        ("&a [*a]", "nested deeper than 32 levels once its aliases are followed"),
        ("&a {<<: *a}", "too many `<<`"),
    ],
)
def test_what_is_not_understood_is_a_problem(text: str, said: str) -> None:
    assert said in problems(text)[0]


def test_aliases_cannot_blow_up() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more than 100000 values once its aliases are followed" in problems("\n".join(rows))[0]


def test_the_number_of_values_is_bounded_while_the_text_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_VALUES", 100)
    assert problems("- x\n" * 99) == []
    assert "no configuration needs that many" in problems("- x\n" * 100)[0]


def test_merges_cannot_blow_up() -> None:
    rows = ["a0: &a0 {x: 1}"]
    rows += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    assert "too many `<<`" in problems("\n".join(rows))[0]


def test_variables_cannot_blow_up() -> None:
    assert "fill in more than" in problems("a: '" + "${A}" * 100 + "'", A="x" * 100_000)[0]


def test_a_text_over_the_limit_is_refused_unread() -> None:
    assert "larger than 1048576 bytes" in problems("#" * (1024 * 1024 + 1))[0]


def test_a_place_is_written_with_dots_and_indexes_and_odd_keys_in_quotes() -> None:
    assert dotted(("services", "web", "hosts", 1)) == "services.web.hosts[1]"
    assert dotted(("services", "a.b\n")) == "services.'a.b\\n'"
