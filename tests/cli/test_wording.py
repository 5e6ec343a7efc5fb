from __future__ import annotations

import pytest

from bgproxy.cli import wording


def test_foreign_text_cannot_control_the_terminal() -> None:
    assert wording.printable("\x1b[2Jstatus\r\n200 é") == "�[2Jstatus��200 é"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.84, "0.8 ms"), (1.84, "1.8 ms"), (250, "250 ms"), (2500, "2.50 s")],  # noqa: RUF001
)
def test_milliseconds_have_as_many_digits_as_matter(value: float | None, shown: str) -> None:
    assert wording.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0, "0 %"),
        (0.1, "10 %"),
        (0.0005, "0.05 %"),
        (1e-6, "< 0.01 %"),
        (0.999999, "> 99.99 %"),
        (1, "100 %"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_to_all(share: float, shown: str) -> None:
    assert wording.percent(share) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (8.4, "8 s"), (200, "3 min"), (18_000, "5 h"), (200_000, "2 d")]
)
def test_a_span_has_one_unit(seconds: float, shown: str) -> None:
    assert wording.span(seconds) == shown


def test_a_bar_shows_that_something_or_not_all_arrived() -> None:
    assert [wording.bar(share, 4) for share in (0, 0.001, 0.5, 0.999, 1)] == [
        "░░░░",
        "█░░░",
        "██░░",
        "███░",
        "████",
    ]


def test_one_thing_has_no_plural() -> None:
    assert [wording.count(1, "request"), wording.count(1234, "request"), wording.count(0)] == [
        "1 request",
        "1,234 requests",
        "0",
    ]
