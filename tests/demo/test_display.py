from io import StringIO

import pytest
from rich.console import Console

from bgproxy.demo.display import Display


def shown(*, terminal: bool) -> str:
    """Everything that a short story prints."""
    file = StringIO()
    console = Console(
        file=file, force_terminal=terminal, width=100, highlight=False, soft_wrap=True, no_color=True
    )
    with Display(console) as display:
        display.title("a title")
        display.step("first", "curl -X POST http://127.0.0.1:1/admin/switch", "curl second")
        display.saw("as it should be")
        display.saw("as it should not", good=False)
        display.status(answered=1234, per_second=10.0, shares={"v1": 0.75, "v2": 0.25}, errors=0)
        display.step("second")
        display.summary([("errors", "0")], "Nothing was lost.", good=True)
    return file.getvalue()


def test_a_pipe_gets_plain_lines_without_live_status() -> None:
    lines = [line for line in shown(terminal=False).splitlines() if line.strip()]
    assert [line.rstrip() for line in lines] == [
        "a title",
        "1. first",
        "   by hand  curl -X POST http://127.0.0.1:1/admin/switch",
        "   by hand  curl second",
        "   seen     as it should be",
        "   WRONG    as it should not",
        "2. second",
        "   errors   0",
        "Nothing was lost.",
    ]


def test_a_terminal_gets_the_live_status_too() -> None:
    text = shown(terminal=True)
    assert "1,234 answered · 10/s" in text
    assert "v1 ████████░░  75%" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_is_shown_when_the_live_status_has_ended(*, terminal: bool) -> None:
    file = StringIO()
    display = Display(Console(file=file, force_terminal=terminal, no_color=True))
    with display:
        pass
    display.error("it did not work")
    assert "it did not work" in file.getvalue()
