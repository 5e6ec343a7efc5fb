"""The program `bgproxy`: its global options, and its commands in the order in which they are explained.

Owns how a failure of any command leaves the process. What a command does is in `commands/`.
"""

from __future__ import annotations

import os
from typing import Any

import click

from bgproxy.build import BUILD
from bgproxy.cli.commands import observe, operate, traffic
from bgproxy.cli.completion import VARIABLE
from bgproxy.cli.failure import EXIT_CODES, Failure
from bgproxy.cli.options import global_options
from bgproxy.cli.session import Session, replace_what_cannot_be_encoded

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Serve": (operate.run, operate.check, operate.schema, operate.reload, operate.upgrade),
    "Move traffic": (
        traffic.switch,
        traffic.rollback,
        traffic.canary,
        traffic.maintenance,
        traffic.hold,
        traffic.release_hold,
        traffic.drain,
        traffic.pool,
    ),
    "Look": (observe.status, observe.history, observe.events, observe.mirror),
    "Learn": (operate.demo, operate.completion),
}


class Program(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            failure.as_json = ctx.ensure_object(Session).as_json
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(one.name), one.get_short_help_str(80)) for one in commands])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@global_options(program=True)
@click.version_option(BUILD, prog_name="bgproxy")
def program() -> None:
    """The traffic switch in front of your VMs and pods: blue-green cutovers that nobody notices.

    The global options that a command has use for may also stand after it. The token is read from the variable BGPROXY_TOKEN.
    """


for _commands in SECTIONS.values():
    for _command in _commands:
        program.add_command(_command)


def main() -> None:
    replace_what_cannot_be_encoded()
    color = False if os.environ.get("NO_COLOR") else None
    program.main(prog_name="bgproxy", complete_var=VARIABLE, color=color)


if __name__ == "__main__":
    main()
