"""The matrix as Markdown, from its JSON. Pure; it must never be kinder than the rows."""

from __future__ import annotations

from typing import Any, Final

from benchmarks import machine
from benchmarks.cpu_report import table

Json = dict[str, Any]

# What is worse than a failure that is seen.
_WORSE: Final = {"wrong_bodies": "wrong body", "foreign_bytes": "foreign", "posts_done_twice": "POST twice"}

PASSED: Final = "passed"
FAILED: Final = "FAILED"

_METHOD: Final = """\
bgproxy with {workers} workers in front of {upstreams} upstreams, of which one fails every second request that it gets (or every one, \
or is killed, as the row says); {clients} closed-loop clients on kept-alive connections, half of the requests POST, a third of \
those in chunks. Nothing is ever repeated by the clients, and every answer is checked: its length, its body, and \
whose it is. The upstreams keep journals of what they were asked and what they failed. Unless the row says \
otherwise, active checks do not look, nothing is ejected and retries may be as many as requests: what is shown \
is what becomes of requests that meet the fault."""

_COLUMNS: Final = """\
*Perfect* is what a proxy would show that repeats whatever may be repeated (RFC 9110, section 9.2.2) and nothing else, counted \
request by request from the journals; what follows a `+` is the tolerance of a race, and below is why. *Avoidable* are \
failures of other requests than those, beyond the tolerance. *Foreign* are bytes of another answer, or that nobody asked for."""


_BESIDE: Final = """\
Avoidable failures of all that clients saw, in a run of the same row. nginx and HAProxy balance by least connections over the \
same upstreams, repeat on another one what may be repeated, and eject nobody. A missing name of the request in an \
answer counts as foreign."""


def verdict(result: Json) -> str:
    rows = result["rows"]
    passed = sum(not row["wrong"] for row in rows)
    requests = sum(row["requests"] for row in rows)
    avoidable = sum(row["avoidable"] for row in rows)
    return f"{passed} of {len(rows)} rows passed: {requests:,} requests, {avoidable} avoidable failures"


def render(result: Json) -> str:
    """The report of a stored result."""
    rows = result["rows"]
    header = [
        *("fault", "requests", "right", "failures", "perfect", "avoidable", "by kind"),
        *("wrong body", "foreign", "POST twice", "verdict"),
    ]
    lines = [
        "# Faults: what clients notice of upstreams that fail",
        "",
        f"**{verdict(result)}**",
        "",
        machine.sentence(result),
        "",
        _METHOD.format(**result["settings"]),
        "",
        *table(header, [_cells(row) for row in rows]),
        "",
        _COLUMNS,
        "",
        *table(["fault", "a perfect proxy loses", "to be seen"], [_words(row) for row in rows]),
    ]
    lines += _beside(rows)
    wrong = [f"- {row['fault']}: {'; '.join(row['wrong'])}" for row in rows if row["wrong"]]
    if wrong:
        lines += ["", "## Not passed", "", *wrong]
    return "\n".join(lines) + "\n"


def line(row: Json) -> str:
    """A row for the terminal, while the others are under way."""
    said = "; ".join(row["wrong"]) or row["remark"]
    return (
        f"{FAILED if row['wrong'] else PASSED}  {row['fault']:45} {row['requests']:6} requests, "
        f"{row['failures']:4} failed, perfect {_perfect(row):>6}  {said}"
    )


# Private


def _cells(row: Json) -> list[str]:
    return [
        row["fault"],
        f"{row['requests']:,}",
        f"{row['right']:,}",
        f"{row['failures']:,}",
        _perfect(row),
        str(row["avoidable"]),
        ", ".join(f"{count:,} {kind}" for kind, count in row["kinds"].items()) or "none",
        str(row["wrong_bodies"]),
        str(row["foreign_bytes"]),
        str(row["posts_done_twice"]),
        FAILED if row["wrong"] else PASSED,
    ]


def _words(row: Json) -> list[str]:
    return [row["fault"], row["because"], row["remark"] or "the counts"]


def _beside(rows: list[Json]) -> list[str]:
    compared = [row for row in rows if "beside" in row]
    if not compared:
        return []
    names = list(compared[0]["beside"])
    cells = [
        [row["fault"], *map(_short, [row, *(row["beside"][name] for name in names)])] for row in compared
    ]
    return ["", "## Beside others", "", _BESIDE, "", *table(["fault", "bgproxy", *names], cells)]


def _short(row: Json) -> str:
    said = [f"{row['avoidable']:,} of {row['failures']:,}"]
    said += [f"{row[key]} {word}" for key, word in _WORSE.items() if row[key]]
    return ", ".join(said)


def _perfect(row: Json) -> str:
    return f"{row['perfect']:,}+{row['slack']:,}" if row["slack"] else f"{row['perfect']:,}"
