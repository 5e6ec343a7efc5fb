"""What the shell offers at a tab: names of services, pools and groups, from the running admin API.

Never fails and never makes the shell wait: without an answer in time there is nothing to offer.
"""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from bgproxy.cli.failure import Failure
from bgproxy.cli.session import Session

COMPLETE_TIMEOUT_S = 0.5
VARIABLE = "_BGPROXY_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def script(shell: str, program: click.Command) -> str:
    """What a shell has to read once, so that it asks `bgproxy` at a tab."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"No completion for {shell}: choose one of {', '.join(SHELLS)}.")
    completion = kind(program, {}, "bgproxy", VARIABLE)
    return completion.source_template % completion.source_vars()


def complete_services(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    return [
        CompletionItem(service["service"], help=f"active: {service['active']}")
        for service in _services(ctx)
        if service["service"].startswith(incomplete)
    ]


def complete_pools(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Of the service that the line has already, otherwise of all."""
    chosen = ctx.params.get("service")
    names = {
        pool
        for service in _services(ctx)
        if chosen in {None, service["service"]}
        for pool in service["pools"]
        if pool.startswith(incomplete)
    }
    return [CompletionItem(name) for name in sorted(names)]


# Private


def _services(ctx: click.Context) -> list[dict[str, Any]]:
    session = ctx.ensure_object(Session)
    try:
        status = session.client.get("/admin/status", timeout_s=COMPLETE_TIMEOUT_S)
    except Failure:
        return []
    services: list[dict[str, Any]] = status.get("services", [])
    return services
