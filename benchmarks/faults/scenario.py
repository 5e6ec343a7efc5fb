"""A row of the matrix: the fault, the service it happens to, and what a perfect proxy would show. Pure values.

Perfect is a proxy that repeats whatever may be repeated (RFC 9110 section 9.2.2) as long as an upstream is well, and
nothing else. What it could not have saved is named request by request, from the journals of the upstreams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from benchmarks.faults.books import FAULTY, Books
from benchmarks.faults.upstream import DEAF

if TYPE_CHECKING:
    from benchmarks.faults.site import Site

REFUSED: Final = "refused"  # nothing listens at its port
UNREACHABLE: Final = "unreachable"  # there is no way to its address
REQUESTS: Final = 4000


class Perfect(NamedTuple):
    """`lost` are the requests that nobody could have saved; `slack` more may fail, for the reason that `words` give."""

    words: str
    lost: Callable[[Books], set[str]]
    slack: Callable[[Books], int] = lambda _: 0


class Remark(NamedTuple):
    """Something else to be seen in the row, and whether it is right."""

    words: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    """Upstream `a` fails every `every`-th request that it gets; a `script` does more to it while there is load.

    `kinds` are those of failures that are right; `service` has the settings that are not the matrix's own.
    """

    name: str
    perfect: Perfect
    kinds: frozenset[str] = frozenset()
    fault: str = ""
    every: int = 2
    tls: Literal["", "right", "wrong"] = ""  # the certificate of `a`; the others have the right one
    service: Mapping[str, Any] = field(default_factory=dict)
    think_s: float = 0.0
    script: Callable[[Site], None] | None = None
    remark: Callable[[Books], Remark] | None = None


# What cannot be saved

NOTHING: Final = Perfect("nothing is lost", lambda _: set())
POSTS: Final = Perfect(
    "each POST that the upstream had read when it failed",
    lambda books: set(books.ids("fault", method="POST")),
)
ALL: Final = Perfect("each request that the upstream failed", lambda books: set(books.ids("fault")))


def judge(scenario: Scenario, books: Books) -> dict[str, Any]:
    """The row as JSON; `wrong` has every reason why it is not passed."""
    failures, perfect = books.failures(), scenario.perfect
    lost, slack = perfect.lost(books), perfect.slack(books)
    avoidable = max(0, len(failures.keys() - lost) - slack)
    kinds = Counter(failures.values())
    foreign, spoiled = kinds["foreign bytes"], kinds["wrong body"]
    twice, there, never = books.done_twice(), books.repeated_there(), books.never_done()
    faults = len(books.ids("fault")) + len(books.ids("accepted"))
    remark = None if scenario.remark is None else scenario.remark(books)
    strange = sorted(kinds.keys() - scenario.kinds)
    wrong = [
        *([f"{avoidable} failures that could have been avoided"] if avoidable else []),
        *([f"failures of a kind that is not right: {', '.join(strange)}"] if strange else []),
        *([f"{twice} POSTs done twice"] if twice else []),
        *([f"{there} requests sent to the same upstream again"] if there else []),
        *([f"{never} requests answered that no upstream had"] if never else []),
        *([remark.words] if remark is not None and not remark.is_right else []),
        *(["there were no requests"] if not books.requests else []),
        *(["the upstream has failed nothing: the row shows nothing"] if _is_idle(scenario, faults) else []),
    ]
    return {
        "fault": scenario.name,
        "requests": len(books.requests),
        "right": len(books.requests) - len(failures),
        "faults": faults,
        "failures": len(failures),
        "perfect": len(lost),
        "slack": slack,
        "avoidable": avoidable,
        "kinds": dict(sorted(kinds.items())),
        "wrong_bodies": spoiled,
        "foreign_bytes": foreign,
        "posts_done_twice": twice,
        "share_of_faulty": round(books.share(FAULTY), 4),
        "because": perfect.words,
        "remark": "" if remark is None else remark.words,
        "wrong": wrong,
    }


# Private


def _is_idle(scenario: Scenario, faults: int) -> bool:
    return scenario.fault not in {"", REFUSED, UNREACHABLE, DEAF} and faults == 0
