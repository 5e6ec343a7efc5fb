"""Commands that only look: what is, what was and what happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from bgproxy.cli import lines
from bgproxy.cli.completion import complete_services
from bgproxy.cli.failure import Failure
from bgproxy.cli.options import global_options
from bgproxy.cli.session import Session, console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bgproxy.cli.sse import Event

RETRY_S = 1.0

_service = click.argument(
    "service", required=False, shell_complete=complete_services, help="Only this one; without it, all."
)
_one_service = click.argument(
    "service",
    required=False,
    shell_complete=complete_services,
    help="May be left out where there is one service only.",
)


@click.command()
@_service
@click.option("--watch", "watching", is_flag=True, help="Keep it on the screen, with rates; q leaves.")
@global_options()
@click.pass_obj
def status(session: Session, /, *, service: str | None, watching: bool) -> None:
    """Show the pools of every service, or of one: role, health, traffic.

    With --watch it is read every second and shows the traffic and the errors of that second. Where stdout is no
    terminal, one frame follows the other; with `-o json` each is one line.
    """
    if watching:
        _watch(session, service)
        return
    answer = session.client.status(service)
    if session.as_json:
        session.print_json(answer)
        return
    from bgproxy.cli.status_view import status_view  # noqa: PLC0415 - rich takes 50 ms

    console().print(status_view(answer, time.time()))


@click.command()
@_service
@click.option(
    "--limit", type=click.IntRange(1, 1000), metavar="N", default=20, show_default=True, help="How many."
)
@global_options()
@click.pass_obj
def history(session: Session, /, *, service: str | None, limit: int) -> None:
    """List what was changed: when, by whom, why, and with what result.

    `took` ends before the change is written to the disk, because it is written with it: without a hold it is next to
    nothing. What a switch took in all is in its answer, in the events and in the log.
    """
    answer = session.client.get("/admin/history", limit=limit, service=service)
    if session.as_json:
        session.print_json(answer)
        return
    from bgproxy.cli.tables import history_table  # noqa: PLC0415 - rich takes 50 ms

    console().print(history_table(answer["history"]))


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with those to come, until ^C.")
@global_options()
@click.pass_obj
def events(session: Session, /, *, follow: bool) -> None:
    """List the latest events: switches, health changes, drains, reloads.

    With `-o json` each is one line. Following survives a restart of the controller and misses none that it kept.
    """
    try:
        for event in _followed(session) if follow else session.client.events(follow=False):
            if session.as_json:
                session.print_json(event.data, one_line=True)
            else:
                click.echo(lines.event(event.data))
    except KeyboardInterrupt:
        if not follow:
            raise


@click.command()
@_one_service
@global_options()
@click.pass_obj
def mirror(session: Session, /, *, service: str | None) -> None:
    """Show what the idle pool would have answered differently.

    For a service with a `mirror`: how its copies went, how fast both pools answered, and the last differences, the
    newest first. Paths and kinds of values are told, never the values.
    """
    answer = session.client.get("/admin/mirror", service=service)

    def view() -> RenderableType:
        from bgproxy.cli.mirror_view import mirror_view  # noqa: PLC0415 - rich takes 50 ms

        return mirror_view(answer)

    session.show(answer, view)


# Private


def _watch(session: Session, service: str | None) -> None:
    from bgproxy.cli.keyboard import keyboard  # noqa: PLC0415 - rich takes 50 ms
    from bgproxy.cli.watch import Watch, show, stream  # noqa: PLC0415

    watch = Watch(session.client, service)
    watch.read()
    try:
        if session.as_json:
            stream(watch, lambda status: session.print_json(status, one_line=True))
        else:
            with keyboard() as keys:
                show(watch, console(), keys.left_within)
    except KeyboardInterrupt:
        return


def _followed(session: Session) -> Iterator[Event]:
    """The very first failure is raised: it is more likely a wrong address than a restart."""
    last: str | None = None
    connected = away = False
    while True:
        try:
            for event in session.client.events(follow=True, after=last):
                connected, away, last = True, False, event.id
                yield event
            connected = True
        except Failure as failure:
            if not (connected and failure.passing):
                raise
        if not away:
            click.echo("admin API away, trying again every second", err=True)
        away = True
        time.sleep(RETRY_S)
