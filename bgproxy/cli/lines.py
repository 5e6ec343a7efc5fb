"""The answers of the admin API that are worth one line, or a few, as those lines. Pure."""

from __future__ import annotations

from typing import Any

import click

from bgproxy.cli.failure import upstream_line
from bgproxy.cli.wording import clock, count, milliseconds, percent, printable, span

EVENT_KIND_COLUMNS = 9


def switched(answer: dict[str, Any]) -> str:
    """`web: blue → green  generation 12  1.8 ms`, one line for each service."""
    tail = [f"generation {answer['generation']}", milliseconds(answer["milliseconds"])]
    if answer.get("held_milliseconds"):
        tail.append(f"requests held for {milliseconds(answer['held_milliseconds'])}")
    if answer.get("forced"):
        tail.append(click.style("forced", fg="yellow"))
    return "\n".join("  ".join([move, *tail]) for move in _moves(answer))


def would(answer: dict[str, Any]) -> str:
    """The answer to a dry run: what would happen, and to whom, or why it would be refused."""
    act = printable(answer.get("would", "change"))
    allowed = answer.get("allowed", True)
    lines = [f"would {act} {move}" for move in _moves(answer)] or [f"would {act} {_name(answer)}".rstrip()]
    if not allowed:
        refusal = printable(answer.get("refusal") or "the admin API gives no reason")
        lines.append(click.style(f"it would be refused: {refusal}", fg="red"))
    if answer.get("share_of_users_moving") is not None:
        lines.append(f"users who would move: {percent(answer['share_of_users_moving'])}")
    for service in _parts(answer):
        if "in_flight" in service:
            busy = f"{count(service['in_flight'])} in flight, {tunnels(service.get('tunnels', 0))}"
            lines.append(f"{printable(service['service'])}: {busy} on {printable(service['from'])}")
        lines += [f"  {upstream_line(one)}" for one in service.get("upstreams") or ()]
    return "\n".join([*lines, "nothing was changed"])


def canaried(answer: dict[str, Any]) -> str:
    return _changed(answer, canary(answer["canary"]))


def canary(canary: dict[str, Any] | None) -> str:
    """`canary 10 % and header x-canary=1`, or that there is none."""
    if canary is None:
        return "no canary"
    rules = [match(one) for one in canary.get("match") or ()]
    share = [percent(canary["weight"] / 100)] if canary["weight"] or not rules else []
    return "canary " + " and ".join(share + rules)


def match(rule: dict[str, Any]) -> str:
    kind = next(kind for kind in ("header", "cookie", "query") if kind in rule)
    return printable(f"{kind} {rule[kind]}={rule['value']}")


def maintained(answer: dict[str, Any]) -> str:
    return _changed(answer, maintenance(answer["maintenance"]))


def maintenance(maintenance: dict[str, Any] | None) -> str:
    """`maintenance: 503, retry after 60 s, "We are moving."`, or that requests are served."""
    if maintenance is None:
        return "no maintenance"
    reason = f', "{printable(maintenance["reason"])}"' if maintenance["reason"] else ""
    return f"maintenance: 503, retry after {maintenance['retry_after']} s{reason}"


def held(answer: dict[str, Any]) -> str:
    end = f"until {clock(answer['until'])} at the latest; `bgproxy release-hold` ends it"
    return _changed(answer, f"new requests are held {end}")


def released(answer: dict[str, Any]) -> str:
    return _changed(answer, f"{count(answer['released'], 'held request')} released")


def pool_set(answer: dict[str, Any]) -> str:
    return _changed(answer, f"pool {printable(answer['pool'])} replaced")


def drained(answer: dict[str, Any]) -> str:
    return _changed(answer, f"upgraded connections of {printable(answer['pool'])} are closed now")


def draining(drain: dict[str, Any], now: float) -> str:
    """`blue: 2 in flight, 1 upgraded connection, 12 s left`, or that it is safe to stop."""
    pool = printable(drain["pool"])
    busy = f"{count(drain['in_flight'])} in flight, {tunnels(drain.get('tunnels', 0))}"
    if drain.get("safe_to_stop"):
        return f"{pool}: {busy}, " + click.style("safe to stop", fg="green")
    left = f", {span(drain['until'] - now)} left" if drain.get("until") else ""
    return f"{pool}: {busy}{left}"


def reloaded(answer: dict[str, Any]) -> str:
    changed = [f"  {printable(change)}" for change in answer["changed"]] or ["  nothing has changed"]
    return "\n".join([f"reloaded  generation {answer['generation']}", *changed])


def upgrading(answer: dict[str, Any]) -> str:
    detail = printable(answer.get("detail") or "the new process takes over")
    return f"upgrade started: process {answer['pid']}, {detail}"


def event(data: dict[str, Any]) -> str:
    """`12:00:03  switch     web  blue → green …`"""
    kind = printable(data["kind"]).ljust(EVENT_KIND_COLUMNS)
    service = [printable(data["service"])] if data.get("service") else []
    return "  ".join([clock(data["time"]), click.style(kind, fg="cyan"), *service, printable(data["text"])])


def tunnels(number: int) -> str:
    return count(number, "upgraded connection")


# Private


def _moves(answer: dict[str, Any]) -> list[str]:
    moves = _parts(answer) or [answer]
    return [
        printable(f"{move['service']}: {move['from']} → {move['to']}") for move in moves if move.get("from")
    ]


def _parts(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What the answer says about each service; some answers only name them."""
    return [part for part in answer.get("services") or () if isinstance(part, dict)]


def _changed(answer: dict[str, Any], what: str) -> str:
    tail = f"generation {answer['generation']}"
    if "milliseconds" in answer:
        tail += f"  {milliseconds(answer['milliseconds'])}"
    return f"{_name(answer)}: {what}  {tail}"


def _name(answer: dict[str, Any]) -> str:
    names = [one for one in answer.get("services") or () if isinstance(one, str)]
    return printable(answer.get("service") or answer.get("group") or ", ".join(names))
