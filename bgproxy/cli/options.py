"""Options and arguments that several commands share, and the types of their values.

Checks what can be checked without asking the admin API; what services and pools there are, it knows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import isinf
from pathlib import Path
from typing import Any, TypeVar

import click

from bgproxy.cli.completion import complete_services
from bgproxy.cli.session import Session
from bgproxy.cli.target import DEFAULT, parse_target
from bgproxy.config.address import parse_address
from bgproxy.config.quantities import parse_duration, parse_size

TOKEN_VARIABLE = "BGPROXY_TOKEN"  # noqa: S105 - the name of a variable, not a secret
TOKEN_BYTES = 4096
OUTPUTS = ("table", "json")
GLOBAL = ("admin", "token_file", "ca", "cert", "key", "output")

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Duration(click.ParamType[str]):
    """A time that ends. Stays text: the admin API reads it as it was written."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if isinf(seconds) or seconds <= 0:
            self.fail(f"{value!r} is no time to wait: write one that ends, such as 5s", param, ctx)
        return str(value)


class Size(click.ParamType[str]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Pair(click.ParamType[tuple[str, str]]):
    """`name=value`; the value may have more `=`."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, wanted = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} has no name and value: write it like x-canary=1", param, ctx)
        return name, wanted


class WeightedUpstream(click.ParamType[dict[str, Any]]):
    """`address` or `address=weight`."""

    name = "address[=weight]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        address, equals, weight = value.rpartition("=")
        if not equals or not weight.isdecimal():
            address, weight = value, "1"
        try:
            parse_address(address)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return {"address": address, "weight": int(weight)}


def output_option(*, program: bool = False) -> Callable[[Decorated], Decorated]:
    """`-o`, for itself where a command has something to print and asks nobody."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(OUTPUTS),
        default="table" if program else None,
        show_default=program,
        expose_value=False,
        callback=_set_output,
        help="table for people, json for scripts.",
    )


def global_options(*, program: bool = False) -> Callable[[Decorated], Decorated]:
    """`--admin`, `--token-file`, the files of https and `-o`: the program's, and again every command's that asks the admin API.

    The program's have the defaults and the variables, so that the command's, if given, win.
    """

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(
            (
                click.option(
                    "--admin",
                    metavar="URL",
                    default=DEFAULT if program else None,
                    show_default=program,
                    envvar="BGPROXY_ADMIN" if program else None,
                    show_envvar=program,
                    expose_value=False,
                    callback=_set_admin,
                    help="The admin API: http://host:port, https://host:port or unix:/path.",
                ),
                click.option(
                    "--token-file",
                    metavar="FILE",
                    type=click.Path(dir_okay=False, path_type=Path),
                    expose_value=False,
                    callback=_set_token,
                    help=f"File with the token, instead of the variable {TOKEN_VARIABLE}.",
                ),
                _file_option("ca", "https: file with the authorities to trust, in PEM.", program=program),
                _file_option("cert", "https: file with our own certificate, in PEM.", program=program),
                _file_option("key", "https: file with its key, in PEM.", program=program),
                output_option(program=program),
            )
        ):
            command = option(command)
        return command

    return decorate


reason_option = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
if_generation_option = click.option(
    "--if-generation",
    type=click.IntRange(min=0),
    metavar="N",
    help="Refuse if anything was changed since generation N.",
)


def guard_options(command: Decorated) -> Decorated:
    dry_run = click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
    return dry_run(if_generation_option(command))


def change_options(command: Decorated) -> Decorated:
    """What nearly every change of the admin API takes."""
    return reason_option(guard_options(command))


def members(change: dict[str, Any]) -> dict[str, Any]:
    """What `change_options` were given, as members of a request's body."""
    return {**change, "dry_run": change["dry_run"] or None}


service_argument = click.argument(
    "service", required=False, shell_complete=complete_services, help="May be left out if there is only one."
)
group_option = click.option(
    "--group", metavar="NAME", help="All services of this group, as one act, instead of one service."
)


def service_or_group(service: str | None, group: str | None) -> dict[str, Any]:
    if service is not None and group is not None:
        raise click.UsageError("Name a service or a --group, not both.")
    return {"service": service, "group": group}


# Private


def _file_option(name: str, meaning: str, *, program: bool) -> Callable[[Decorated], Decorated]:
    def remember(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
        session = ctx.ensure_object(Session)
        if value is not None:
            setattr(session, name, value)

    return click.option(
        f"--{name}",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        envvar=f"BGPROXY_{name.upper()}" if program else None,
        show_envvar=program,
        expose_value=False,
        callback=remember,
        help=meaning,
    )


def _set_admin(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    session = ctx.ensure_object(Session)
    if value is not None:
        try:
            session.target = parse_target(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None


def _set_token(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    session = ctx.ensure_object(Session)
    token = ""
    if value is not None:
        try:
            with value.open(encoding="ascii", errors="replace") as file:
                token = file.read(TOKEN_BYTES).strip()
        except OSError as error:
            raise click.BadParameter(f"{value} cannot be read: {error.strerror}", ctx, param) from None
    elif ctx.parent is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and not (token.isascii() and token.isprintable()):
        raise click.BadParameter("the token has characters that no header may have", ctx, param)
    session.token = token or session.token


def _set_output(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    session = ctx.ensure_object(Session)
    if value is not None:
        session.as_json = value == "json"
