"""Commands about bgproxy itself: start it, check and reload its configuration, replace it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bgproxy.cli import lines
from bgproxy.cli.command import Command
from bgproxy.cli.completion import SHELLS, script
from bgproxy.cli.failure import InvalidConfiguration
from bgproxy.cli.options import global_options, if_generation_option, output_option, reason_option
from bgproxy.cli.session import Session
from bgproxy.errors import ConfigError

_config = click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The configuration, in YAML.",
)


@click.command()
@_config
def run(path: Path) -> None:
    """Start bgproxy in the foreground, until SIGTERM or ^C.

    Exits with 2 if the configuration is not valid, with 3 if it cannot listen where that says, and with 4 if
    the state file cannot be used.
    """
    from bgproxy.process import start  # noqa: PLC0415 - for this command only

    start.run(str(path))


@click.command()
@_config
@output_option()
@click.pass_obj
def check(session: Session, /, *, path: Path) -> None:
    """Check a configuration, and start nothing.

    Names every error with its line, its path and what would be right, or sums up what would be served.
    """
    from bgproxy.cli.tables import configuration_json, configuration_table  # noqa: PLC0415 - rich takes 50 ms
    from bgproxy.config.load import load  # noqa: PLC0415 - pydantic takes 100 ms

    try:
        config = load(path)
    except ConfigError as error:
        invalid = InvalidConfiguration.of(error)
        if not session.as_json:
            raise invalid from None
        session.print_json({"valid": False, **invalid.problem})
        raise click.exceptions.Exit(invalid.exit_code) from None
    session.show({"valid": True, **configuration_json(config)}, lambda: configuration_table(config))


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from bgproxy.config.json_schema import json_schema  # noqa: PLC0415 - pydantic takes 100 ms

    click.echo(json.dumps(json_schema(), indent=2))


@click.command()
@reason_option
@if_generation_option
@global_options()
@click.pass_obj
def reload(session: Session, /, *, reason: str | None, if_generation: int | None) -> None:
    """Read the configuration file again and apply it, or refuse it as a whole.

    What operators changed since, such as the active pool, stays as it is. There is no dry run: `bgproxy check` finds
    the errors of the file, but not what this bgproxy can change by a restart only.
    """
    body = {"reason": reason, "if_generation": if_generation}
    session.say(session.client.send("POST", "/admin/reload", body), lines.reloaded)


@click.command()
@global_options()
@click.pass_obj
def upgrade(session: Session) -> None:
    """Replace the running bgproxy by the installed one, and lose no connection."""
    session.say(session.client.send("POST", "/admin/upgrade", {}), lines.upgrading)


@click.command()
@click.pass_context
def demo(ctx: click.Context) -> None:
    """See it at work: two versions of an app, live traffic, switches, failures, proof.

    Needs no configuration, takes less than a minute and leaves nothing behind.
    """
    from bgproxy.demo import story  # noqa: PLC0415 - for this command only

    ctx.exit(story.run())


@click.command(
    cls=Command,
    examples=(
        "source <(bgproxy completion bash)",
        'bgproxy completion zsh > "${fpath[1]}/_bgproxy"',
        "bgproxy completion fish > ~/.config/fish/completions/bgproxy.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS), help="Which shell reads it.")
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print the script that completes commands, services and pools."""
    click.echo(script(shell, ctx.find_root().command))
