"""The result of a run as Markdown. Pure: facts in, text out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from benchmarks import machine
from benchmarks.wire import proxies

Facts = dict[str, Any]

OURS: Final = "bgproxy"

_METHOD: Final = f"""\
A raw client sends the bytes of a case to a proxy; behind it, two raw upstreams record every byte that they get and answer
as the case says: well, badly, late, or not at all. What the upstreams got is read by h11 and again by llhttp: what these
two do not read alike is ambiguous, and wrong. Where the RFCs allow several outcomes, all of them are right. A case that
all others fail is in here only if the RFC is explicit, or if a client could not tell a truncated body from a whole one.

Every proxy has what a careful operator would give it (`benchmarks/wire/proxies.py`): kept-alive connections, streaming
without buffers, X-Forwarded-For, Via where it can be had, WebSockets, retries of methods that can be repeated, and the
same limits as far as it has them: {proxies.CONNECT_S} s to connect, {proxies.HEAD_S} s for a request's head,
{proxies.BODY_S} s without progress in a body, {proxies.RESPONSE_S} s for a response's head, {proxies.IDLE_S} s idle,
{proxies.REQUEST_LINE_BYTES >> 10} KiB for the request line, {proxies.HEADER_BLOCK_BYTES >> 10} KiB and
{proxies.HEADER_COUNT} fields for the header. caddy and traefik limit the whole time of a request's body instead of its progress.
"""


def summary(name: str, result: Facts) -> str:
    """A line for the terminal."""
    return f"{name} {result['version']}: {_count(result)} cases not right, {result['took_s']:g} s"


def render(facts: Facts) -> str:
    return "\n".join(
        [
            "# The wire",
            "",
            f"{_total(facts)} cases of raw bytes, judged from the outside.",
            "",
            *_table(facts),
            "",
            _METHOD,
            f"## Where {OURS} is not right",
            "",
            *(_ours(facts) or ["Nowhere."]),
            "",
            "## Where others are not right",
            "",
            *_others(facts),
            "",
            "## Circumstances",
            "",
            machine.sentence(facts),
            "Proxies: "
            + ", ".join(f"{name} {each['version']}" for name, each in facts["proxies"].items())
            + ".",
            "",
        ]
    )


# Private


def _count(result: Facts) -> int:
    return sum(map(len, result["faults"].values()))


def _total(facts: Facts) -> int:
    return sum(map(len, facts["cases"].values()))


def _table(facts: Facts) -> Iterator[str]:
    judged = facts["proxies"]
    yield f"| cases that are right | {' | '.join(judged)} |"
    yield f"|---|{'---:|' * len(judged)}"
    for group, cases in facts["cases"].items():
        cells = [str(len(cases) - len(each["faults"][group])) for each in judged.values()]
        yield f"| {group} ({len(cases)}) | {' | '.join(cells)} |"
    cells = [f"**{_total(facts) - _count(each)}**" for each in judged.values()]
    yield f"| **all ({_total(facts)})** | {' | '.join(cells)} |"
    yield f"| seconds | {' | '.join(str(each['took_s']) for each in judged.values())} |"


def _ours(facts: Facts) -> list[str]:
    lines = []
    faults = facts["proxies"].get(OURS, {"faults": {}})["faults"]
    for group, cases in facts["cases"].items():
        for case in cases:
            fault = faults.get(group, {}).get(case["name"])
            if fault is not None:
                lines.append(
                    f"- **{case['name']}** (RFC {case['section']}): {_code(fault)}. Right: {_code(case['right'])}."
                )
    return lines


def _others(facts: Facts) -> Iterator[str]:
    others = [name for name in facts["proxies"] if name != OURS]
    yield f"| case | RFC | {' | '.join(others)} |"
    yield f"|---|---|{':-:|' * len(others)}"
    for group, cases in facts["cases"].items():
        for case in cases:
            wrong = [case["name"] in facts["proxies"][name]["faults"][group] for name in others]
            if any(wrong):
                marks = " | ".join("✗" if each else " " for each in wrong)
                yield f"| {case['name']} | {case['section']} | {marks} |"


def _code(text: str) -> str:
    """Foreign bytes must not become markup."""
    return "`" + text.replace("`", "'").replace("|", "¦") + "`"
