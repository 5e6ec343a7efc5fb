"""How a command fails: what the operator reads on stderr, and the exit code that a script reads.

Never decides whether to try again, and never ends the process itself.
"""

from __future__ import annotations

import json
import re
from typing import IO, Any, ClassVar

import click

from bgproxy.cli.wording import count, printable
from bgproxy.errors import ConfigError, NotFound

EXIT_CODES = {
    0: "done",
    1: "refused or failed; a dry run exits with it too if the change would be refused",
    2: "bad usage, or an invalid configuration",
    3: "the admin API is not reachable, or the connection to it broke",
    4: "not allowed: no token, a wrong one, or one whose role does not suffice",
}


class Failure(click.ClickException):
    """`problem` is what `-o json` prints: a problem document (RFC 9457), or one made to look like it."""

    exit_code: ClassVar[int] = 1
    prefix: ClassVar[str] = "Failed"
    as_json = False

    def __init__(self, problem: dict[str, Any], hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(str(problem.get("detail") or problem.get("title") or ""))

    @property
    def status(self) -> int:
        """The HTTP status of the answer; 0 where there was none."""
        return int(self.problem.get("status") or 0)

    @property
    def passing(self) -> bool:
        """Asking again later may help: a restart of bgproxy looks like this, and so do too many calls."""
        return self.exit_code == Unreachable.exit_code or self.status >= 500 or self.status == 429

    def format_message(self) -> str:
        title, detail = self.problem.get("title"), _as_options(str(self.problem.get("detail") or ""))
        lines = [f"{self.prefix}: {printable(title or f'the admin API answered {self.status}')}"]
        if detail and self.problem.get("problems"):
            lines.append(f"  {printable(detail.splitlines()[0])}")  # the rest of it is those problems
        elif detail and not self.problem.get("upstreams"):  # each upstream has its line below
            lines += [f"  {printable(line)}" for line in detail.splitlines()]
        lines += [f"  {upstream_line(one)}" for one in self.problem.get("upstreams") or ()]
        source = self.problem.get("source")
        lines += [f"  {problem_line(one, source)}" for one in self.problem.get("problems") or ()]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)

    def show(self, file: IO[Any] | None = None) -> None:
        if self.as_json:
            click.echo(json.dumps(self.problem, ensure_ascii=False), file=file, err=file is None)
            return
        first, newline, rest = self.format_message().partition("\n")
        click.echo(
            click.style(first, fg="red", bold=True) + newline + rest,
            file=file,
            err=file is None,
            color=self.show_color,
        )


class Refused(Failure):
    prefix = "Refused"


class InvalidConfiguration(Failure):
    exit_code = 2
    prefix = "Invalid"

    @classmethod
    def of(cls, error: ConfigError) -> InvalidConfiguration:
        problems = [{"line": one.line, "path": one.path, "message": one.message} for one in error.problems]
        title = f"{error.source} has {count(len(problems), 'error')}"
        return cls({"title": title, "source": error.source, "problems": problems})


class Unreachable(Failure):
    exit_code = 3

    @classmethod
    def at(cls, target: object, reason: str, hint: str) -> Unreachable:
        """There was no answer, so there is no HTTP status either."""
        kind, title = "urn:bgproxy:problem:unreachable", "The admin API does not answer"
        return cls({"type": kind, "title": title, "status": 0, "detail": f"{target}: {reason}"}, hint)


class NotAllowed(Failure):
    exit_code = 4
    prefix = "Not allowed"


def from_problem(problem: dict[str, Any]) -> Failure:
    """The failure that an answer of the admin API with this problem document is."""
    match int(problem.get("status") or 0):
        case 401 if str(problem.get("type")).endswith(":wrong-token"):
            return NotAllowed(
                problem, "Correct BGPROXY_TOKEN, or the file that --token-file names, which comes first."
            )
        case 401:
            return NotAllowed(problem, "Set BGPROXY_TOKEN, or name the token's file with --token-file.")
        case 403:
            return NotAllowed(problem, "Use a token whose role allows it.")
        case 409 if str(problem.get("type")).endswith(":nobody-healthy"):
            return Refused(
                problem,
                "Nothing was changed. Start them first, or leave somebody in the pool who is healthy.",
            )
        case 409 if problem.get("upstreams"):
            return Refused(
                problem,
                "Wait until they are healthy (`bgproxy status --watch`), or repeat with --force: it is recorded.",
            )
        case status if status >= 500:
            return Failure(problem)
    return Refused(problem)


def unknown(detail: str) -> Failure:
    """As the admin API refuses a name that it does not know."""
    kind = "urn:bgproxy:problem:not-found"
    return from_problem({"type": kind, "title": NotFound.title, "status": NotFound.status, "detail": detail})


def upstream_line(upstream: dict[str, Any]) -> str:
    place = "/".join(str(upstream[key]) for key in ("service", "pool") if upstream.get(key))
    parts = (place, upstream.get("upstream"), upstream.get("health"), upstream.get("reason"))
    return "  ".join(printable(part) for part in parts if part)


def problem_line(problem: dict[str, Any], source: str | None) -> str:
    """One that has neither line nor path is about the file as such."""
    line = problem.get("line")
    where = f"{source}:{line}" if source and line else source or (f"line {line}" if line else "")
    parts = (where, problem.get("path"), problem.get("message"))
    return printable(": ".join(str(part) for part in parts if part))


# Private


def _as_options(detail: str) -> str:
    """The admin API speaks of members of a body, which are options here."""
    return re.sub(r"`(force|to)`", r"`--\1`", detail)
