"""The reference of every command, in Markdown, from the commands themselves. `docs/reference/cli.md` is its output.

Adds no fact of its own about a command: what is missing here is missing in its `--help`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from bgproxy.cli.command import Command
from bgproxy.cli.failure import EXIT_CODES
from bgproxy.cli.main import SECTIONS, program
from bgproxy.cli.options import GLOBAL

_HEAD = """\
# Command line

Every command of `bgproxy`. This page is generated from the commands themselves; `bgproxy COMMAND --help` says the same.

Results go to stdout and failures to stderr. Colours are off where the output is no terminal, and with `NO_COLOR`.
With `-o json` both are the JSON of the admin API, a failure as its problem document, with `status` 0 where there was no answer.
Bad usage (exit code 2) and what `bgproxy run` says are plain text in any case.
"""


def reference() -> str:
    root = click.Context(program, info_name="bgproxy")
    lines = [
        _HEAD,
        "## Global options",
        "",
        "They stand before the command. Those that a command has use for, see its `--help`, may stand after it instead.",
        "",
    ]
    lines += [*_options(root, program), "", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    for title, commands in SECTIONS.items():
        lines += ["", f"## {title}"]
        for command in commands:
            lines += _command(click.Context(command, root, info_name=command.name))
    return "\n".join(lines) + "\n"


# Private


def _command(ctx: click.Context) -> Iterator[str]:
    command = ctx.command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _command(click.Context(inner, ctx, info_name=inner.name))
        return
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield from ("", f"### {ctx.command_path}", "", f"    {usage}", "")
    yield inspect.cleandoc(command.help or "")
    options = list(_options(ctx, command, GLOBAL))
    if options:
        yield from ("", *options)
    if isinstance(command, Command) and command.examples:
        yield from ("", *(f"    {example}" for example in command.examples))


def _options(ctx: click.Context, command: click.Command, without: tuple[str, ...] = ()) -> Iterator[str]:
    records = [
        record
        for option in command.params
        if option.name not in without and (record := option.get_help_record(ctx)) is not None
    ]
    if records:
        yield from ("| option | meaning |", "|---|---|")
    for names, meaning in records:
        cells = (f"`{names}`", " ".join(meaning.split()))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
