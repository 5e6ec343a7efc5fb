"""Commands that move traffic, or change where it may go: one call of the admin API each."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from bgproxy.cli import lines
from bgproxy.cli.client import ANSWER_TIMEOUT_S
from bgproxy.cli.command import Command
from bgproxy.cli.completion import complete_pools, complete_services
from bgproxy.cli.options import (
    Duration,
    Pair,
    Size,
    WeightedUpstream,
    change_options,
    global_options,
    group_option,
    guard_options,
    members,
    service_argument,
    service_or_group,
)
from bgproxy.cli.progress import waiting
from bgproxy.cli.session import Session
from bgproxy.config.quantities import parse_duration


@click.command(
    cls=Command,
    examples=(
        "bgproxy switch",
        'bgproxy switch web --to green --reason "release 1.1"',
        "bgproxy switch --group shop --hold 5s",
        "bgproxy switch --dry-run",
    ),
)
@service_argument
@group_option
@click.option(
    "--to",
    metavar="POOL",
    shell_complete=complete_pools,
    help="The pool to switch to; without it, the idle one.",
)
@click.option("--force", is_flag=True, help="Even if the pool is not proven healthy; that is recorded.")
@click.option(
    "--hold",
    type=Duration(),
    help="Park new requests, for so long at most, until the old pool has finished its own; then switch.",
)
@change_options
@global_options()
@click.pass_obj
def switch(
    session: Session,
    /,
    *,
    service: str | None,
    group: str | None,
    to: str | None,
    force: bool,
    hold: str | None,
    **change: Any,
) -> None:
    """Move all traffic to the idle pool.

    From the answer on, no request that starts is answered by the old pool. Refused while the new one is not
    healthy.
    """
    body = {
        **service_or_group(service, group),
        "to": to,
        "force": force or None,
        "hold": hold,
        **members(change),
    }
    session.changed(_held_call(session, "/admin/switch", body, hold), lines.switched)


@click.command()
@service_argument
@group_option
@click.option("--force", is_flag=True, help="Even if the old pool is not proven healthy; that is recorded.")
@click.option("--hold", type=Duration(), help="Park new requests, for so long at most, until it is done.")
@change_options
@global_options()
@click.pass_obj
def rollback(
    session: Session,
    /,
    *,
    service: str | None,
    group: str | None,
    force: bool,
    hold: str | None,
    **change: Any,
) -> None:
    """Move all traffic back to the pool that was active before.

    Needs only that pool to be healthy, whatever the present one does.
    """
    body = {**service_or_group(service, group), "force": force or None, "hold": hold, **members(change)}
    session.changed(_held_call(session, "/admin/rollback", body, hold), lines.switched)


@click.command(
    cls=Command,
    examples=(
        "bgproxy canary web --weight 10",
        "bgproxy canary web --weight 0 --header x-canary=1",
        "bgproxy canary web --off",
    ),
)
@service_argument
@click.option("--weight", type=click.IntRange(0, 100), metavar="N", help="Percent of the requests.")
@click.option("--header", "headers", type=Pair(), multiple=True, help="And all with this header. Repeatable.")
@click.option("--cookie", "cookies", type=Pair(), multiple=True, help="And all with this cookie. Repeatable.")
@click.option(
    "--query", "queries", type=Pair(), multiple=True, help="And all with this parameter. Repeatable."
)
@click.option("--force", is_flag=True, help="Even if the idle pool is not proven healthy; that is recorded.")
@click.option("--off", is_flag=True, help="End the canary: all requests go to the active pool.")
@change_options
@global_options()
@click.pass_obj
def canary(
    session: Session,
    /,
    *,
    service: str | None,
    weight: int | None,
    headers: tuple[tuple[str, str], ...],
    cookies: tuple[tuple[str, str], ...],
    queries: tuple[tuple[str, str], ...],
    force: bool,
    off: bool,
    **change: Any,
) -> None:
    """Send a share of the traffic to the idle pool.

    The share is exact, not random: of any 100 requests in a row that one worker splits, so many. It replaces the
    canary that there is.
    """
    rules = [
        {kind: name, "value": value}
        for kind, pairs in (("header", headers), ("cookie", cookies), ("query", queries))
        for name, value in pairs
    ]
    given = weight is not None or bool(rules)
    if off and given:
        raise click.UsageError(
            "Give --off to end the canary, or --weight, --header, --cookie or --query to set it, not both."
        )
    if not (off or given):
        raise click.UsageError(
            "Give --weight, --header, --cookie or --query to set a canary, or --off to end it."
        )
    body = {"service": service, **members(change)}
    if off:
        answer = session.client.send("DELETE", "/admin/canary", body)
    else:
        answer = session.client.send(
            "PUT", "/admin/canary", {**body, "weight": weight or 0, "match": rules, "force": force or None}
        )
    session.changed(answer, lines.canaried)


@click.group()
def maintenance() -> None:
    """Turn requests away while there is nothing to serve them with."""


@maintenance.command(
    "on",
    cls=Command,
    examples=('bgproxy maintenance on web --retry-after 10m --reason "We are moving; back at nine."',),
)
@service_argument
@group_option
@click.option(
    "--retry-after",
    type=Duration(),
    default="60s",
    show_default=True,
    help="When clients are told to come back.",
)
@click.option("--reason", metavar="TEXT", help="Why; kept in the history, and shown to clients.")
@guard_options
@global_options()
@click.pass_obj
def begin_maintenance(
    session: Session, /, *, service: str | None, group: str | None, retry_after: str, **change: Any
) -> None:
    """Answer every request with 503 and Retry-After, except previews of the idle pool.

    Works whatever the health of the pools. It lasts until `bgproxy maintenance off`, also across switches,
    reloads and restarts.
    """
    body = {**service_or_group(service, group), "retry_after": retry_after, **members(change)}
    session.changed(session.client.send("PUT", "/admin/maintenance", body), lines.maintained)


@maintenance.command("off")
@service_argument
@group_option
@change_options
@global_options()
@click.pass_obj
def end_maintenance(session: Session, /, *, service: str | None, group: str | None, **change: Any) -> None:
    """Serve requests again, from the answer on."""
    body = {**service_or_group(service, group), **members(change)}
    session.changed(session.client.send("DELETE", "/admin/maintenance", body), lines.maintained)


@click.command()
@service_argument
@group_option
@click.option(
    "--timeout", type=Duration(), default="10s", show_default=True, help="The hold ends then by itself."
)
@click.option(
    "--max-requests",
    type=click.IntRange(min=1),
    metavar="N",
    help="It ends when more are parked in one worker.",
)
@click.option(
    "--max-bytes", type=Size(), help="It ends when those of one worker take more memory, such as 8MiB."
)
@change_options
@global_options()
@click.pass_obj
def hold(
    session: Session,
    /,
    *,
    service: str | None,
    group: str | None,
    timeout: str,
    max_requests: int | None,
    max_bytes: str | None,
    **change: Any,
) -> None:
    """Park new requests: they wait, and none is refused.

    For a change that must not meet any request, such as a migration of a database. Ends with
    `bgproxy release-hold`, or by itself.
    """
    body = {
        **service_or_group(service, group),
        "timeout": timeout,
        "max_requests": max_requests,
        "max_bytes": max_bytes,
        **members(change),
    }
    session.changed(session.client.send("POST", "/admin/hold", body), lines.held)


@click.command()
@service_argument
@group_option
@change_options
@global_options()
@click.pass_obj
def release_hold(session: Session, /, *, service: str | None, group: str | None, **change: Any) -> None:
    """End a hold: the parked requests go on at once."""
    body = {**service_or_group(service, group), **members(change)}
    session.changed(session.client.send("POST", "/admin/release-hold", body), lines.released)


@click.command()
@service_argument
@change_options
@global_options()
@click.pass_obj
def drain(session: Session, /, *, service: str | None, **change: Any) -> None:
    """Close the upgraded connections of the idle pool now.

    A switch lets them live until the drain's deadline. `bgproxy status` says when the pool is safe to stop.
    """
    service = service or _only_service(session)
    path = f"/admin/services/{quote(service, safe='')}/drain"
    session.changed(session.client.send("POST", path, members(change)), lines.drained)


@click.group()
def pool() -> None:
    """Say what a pool consists of."""


@pool.command(
    "set",
    cls=Command,
    examples=(
        "bgproxy pool set web green --upstream 10.0.0.3:8000 --upstream 10.0.0.4:8000=2 --version v1.2.0",
    ),
)
@click.argument("service", shell_complete=complete_services, help="Whose pool it is.")
@click.argument("pool", shell_complete=complete_pools, help="Its name, such as green.")
@click.option(
    "--upstream",
    "upstreams",
    type=WeightedUpstream(),
    multiple=True,
    required=True,
    help="Its address. Repeatable.",
)
@click.option("--version", metavar="TEXT", help="What runs there, as people call it.")
@click.option("--force", is_flag=True, help="Even if the pool is active; that is recorded.")
@change_options
@global_options()
@click.pass_obj
def set_pool(
    session: Session,
    /,
    *,
    service: str,
    pool: str,
    upstreams: tuple[dict[str, Any], ...],
    version: str | None,
    force: bool,
    **change: Any,
) -> None:
    """Replace the upstreams of a pool, usually the idle one before a release.

    They get no traffic before their first health checks have passed. The configuration file stays as it is.
    """
    path = f"/admin/services/{quote(service, safe='')}/pools/{quote(pool, safe='')}"
    body = {"version": version, "upstreams": list(upstreams), "force": force or None, **members(change)}
    session.changed(session.client.send("PUT", path, body), lines.pool_set)


# Private


def _held_call(session: Session, path: str, body: dict[str, Any], hold: str | None) -> dict[str, Any]:
    if hold is None:
        return session.client.send("POST", path, body)
    with waiting(f"new requests wait for the old pool to finish its own, {hold} at most"):
        return session.client.send("POST", path, body, timeout_s=ANSWER_TIMEOUT_S + parse_duration(hold))


def _only_service(session: Session) -> str:
    """The call has the service in its path, so that the admin API cannot choose it."""
    names = [service["service"] for service in session.client.status()["services"]]
    if len(names) != 1:
        raise click.UsageError(f"Name a service: there are {len(names)}: {', '.join(names)}.")
    return str(names[0])
