from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from bgproxy.cli.main import program
from bgproxy.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"


def commands(group: click.Group, prefix: str = "bgproxy") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def test_the_page_is_what_the_commands_say() -> None:
    """To renew it: `python -c 'from bgproxy.cli.reference import reference; print(reference(), end="")'`."""
    assert PAGE.read_text() == reference()


def test_every_command_is_on_the_page() -> None:
    lines = PAGE.read_text().splitlines()
    missing = [command for command in commands(program) if f"### {command}" not in lines]
    assert missing == []


def test_every_option_and_argument_has_a_meaning() -> None:
    assert "|  |" not in reference()
