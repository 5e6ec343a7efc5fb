"""What the global options say, for every command: which admin API, with which token, shown how.

Owns stdout: results go there, as JSON for scripts or as text for people. Failures go to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import click

from bgproxy.cli.client import Client
from bgproxy.cli.failure import Refused
from bgproxy.cli.lines import would
from bgproxy.cli.target import DEFAULT, Identity, Target, parse_target
from bgproxy.model import Certificate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPED_WIDTH_COLUMNS = 200


@dataclass(slots=True)
class Session:
    target: Target = field(default_factory=lambda: parse_target(DEFAULT))
    token: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    as_json: bool = False

    @property
    def client(self) -> Client:
        if (self.cert is None) != (self.key is None):
            raise click.UsageError("--cert and --key go together: name both of them, or neither.")
        certificate = Certificate(self.cert, self.key) if self.cert and self.key else None
        return Client(self.target, self.token, Identity(self.ca, certificate))

    def say(self, answer: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> None:
        """The result of a command that has one line, or a few."""
        if self.as_json:
            self.print_json(answer)
        else:
            click.echo(text(answer))

    def changed(self, answer: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> None:
        """The result of a change, or of its dry run: one that would be refused exits as a refusal does."""
        self.say(answer, would if answer.get("dry_run") else text)
        if answer.get("dry_run") and not answer.get("allowed", True):
            raise click.exceptions.Exit(Refused.exit_code)

    def show(self, answer: dict[str, Any], view: Callable[[], RenderableType]) -> None:
        """The result of a command that has tables; `view` is asked only if somebody looks at it."""
        if self.as_json:
            self.print_json(answer)
        else:
            console().print(view())

    def print_json(self, answer: dict[str, Any], *, one_line: bool = False) -> None:
        click.echo(json.dumps(answer, indent=None if one_line else 2, ensure_ascii=False))


def console(file: IO[str] | None = None) -> Console:
    """A terminal as wide as it is; a pipe or file as wide as tables need."""
    from rich.console import Console  # noqa: PLC0415 - 50 ms that one-line results need not wait for

    file = sys.stdout if file is None else file
    piped = not file.isatty() and "COLUMNS" not in os.environ
    return Console(file=file, highlight=False, width=PIPED_WIDTH_COLUMNS if piped else None)


def replace_what_cannot_be_encoded() -> None:
    """A stream that cannot encode an arrow shows a question mark instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream that a caller put there need not be a text file
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
