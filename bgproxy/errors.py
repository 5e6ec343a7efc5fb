"""What can go wrong, whose fault it is, and what to do about it.

Two families, which never mix: `ProxyError` is about one request on the data plane and carries the
answer that the client gets; `ControlError` is about one operator's call and carries an explanation
for a person. Neither is raised where nothing is wrong: the hot path runs without exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable


class ProxyError(Exception):
    """A request that cannot be relayed. `status` is what the client is told, `reason` is why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ControlError(Exception):
    """An operator's call that is refused. Rendered as problem+json (RFC 9457) and by the CLI.

    `status` is an HTTP status, `title` is the same for every occurrence, `detail` says what is wrong
    here and what to do, `extra` holds members for machines (JSON values only).
    """

    status = 400
    title = "The request cannot be carried out"

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class Invalid(ControlError):
    status = 422
    title = "The request is not valid"


class NotFound(ControlError):
    status = 404
    title = "There is no such thing"


def one_of(what: str, names: Iterable[str]) -> str:
    """What to do about a name that is not known: how the detail of its refusal ends."""
    known = ", ".join(sorted(names))
    return f"choose one of {known}" if known else f"no {what} is configured"


class Conflict(ControlError):
    """Somebody else changed the same thing first, or the change is not allowed in this state."""

    status = 409
    title = "The change conflicts with the present state"


class NotHealthy(ControlError):
    """The target pool is not proven healthy; `extra["upstreams"]` has a reason for each upstream."""

    status = 409
    title = "The target pool is not healthy"


class NobodyHealthy(NotHealthy):
    """A configuration would leave an active pool without a healthy upstream. There is no force for it."""

    title = "Nobody in the active pool would be healthy"


class HoldTimedOut(ControlError):
    """The held requests were released to the pool that was active before; nothing was lost."""

    status = 409
    title = "The hold ended before the old pool was empty"


class StateError(ControlError):
    """The state store cannot be read or written. Nothing was published."""

    status = 503
    title = "The state store failed"


class ConfigError(ControlError):
    """The configuration is not valid; `problems` has every error, each with line, path and remedy."""

    title = "The configuration is not valid"

    def __init__(self, problems: list[Problem], source: str = "configuration") -> None:
        self.problems = problems
        self.source = source
        count = len(problems)
        lines = "\n".join(problem.render(source) for problem in problems)
        super().__init__(f"{source} has {count} error{'s' if count != 1 else ''}:\n{lines}")


class Problem:
    """One error of a configuration: where it is (1-based line, dotted path) and what would be right."""

    __slots__ = ("line", "message", "path")

    def __init__(self, path: str, message: str, line: int | None = None) -> None:
        self.path = path
        self.message = message
        self.line = line

    def render(self, source: str) -> str:
        where = f"{source}:{self.line}" if self.line else source
        return f"  {': '.join(part for part in (where, self.path, self.message) if part)}"
