"""The rows: every fault of an upstream, and what a perfect proxy would show of it. Values and scripts, no judging."""

from __future__ import annotations

import math
import signal
from typing import Any, Final

from benchmarks.faults import upstream
from benchmarks.faults.books import FAULTY, Books
from benchmarks.faults.scenario import (
    ALL,
    NOTHING,
    POSTS,
    REFUSED,
    UNREACHABLE,
    Perfect,
    Remark,
    Scenario,
)
from benchmarks.faults.site import UPSTREAMS, WORKERS, Site

CLIENTS: Final = 200
# A machine that is busy, but not one at its limit, where time has to pass for something to happen.
THINK_S: Final = 0.1
BEFORE_S: Final = 0.6
AFTER_S: Final = 0.6
DOWN_S: Final = 1.0
FLAP_S: Final = 0.25
FLAPS: Final = 8
KILLS: Final = 3

CHECKED: Final = {
    "kind": "http",
    "path": "/health",
    "interval": "100ms",
    "timeout": "1s",
    "healthy_after": 2,
    "unhealthy_after": 2,
}
IMPATIENT: Final = {"response_head": "1s", "idle": "1s"}
FAILURES: Final = 5  # in a row
EJECTING: Final = {"consecutive_failures": FAILURES, "ejection": "1m", "max_ejected": "50%"}
BUDGET: Final = 0.2
UNPAID: Final = 20  # retries of each worker that no request has paid for
FEW: Final = 10  # requests at one upstream
CROSSING: Final = 0.001  # share of POSTs

ABORTED: Final = frozenset({"aborted"})
BAD_GATEWAY: Final = frozenset({"502"})
TIMED_OUT: Final = frozenset({"504"})
UNAVAILABLE: Final = frozenset({"503"})


# What happens while there is load


def _kill(site: Site) -> None:
    for number in range(KILLS):
        site.pause(BEFORE_S)
        site.mark(f"before {number}")
        site.kill(FAULTY)
        site.mark(f"killed {number}")
        site.pause(BEFORE_S)
        site.restart(FAULTY)
        site.until_healthy()
    site.pause(AFTER_S)


def _stop(site: Site) -> None:
    site.pause(BEFORE_S)
    site.signal(FAULTY, signal.SIGSTOP)
    site.pause(DOWN_S)
    site.signal(FAULTY, signal.SIGCONT)
    site.pause(AFTER_S)


def _retire(site: Site) -> None:
    site.pause(BEFORE_S)
    site.retire(FAULTY)
    site.pause(AFTER_S)


def _flap(site: Site) -> None:
    site.pause(BEFORE_S)
    for _ in range(FLAPS):
        site.signal(FAULTY, signal.SIGUSR1)
        site.pause(FLAP_S)
    site.pause(AFTER_S)


def _all_down(site: Site) -> None:
    site.pause(BEFORE_S)
    site.mark("before")
    site.kill(*UPSTREAMS)
    site.until_healthy(0)
    site.mark("noticed")
    site.pause(DOWN_S)
    site.restart(*UPSTREAMS)
    site.mark("back")
    site.until_healthy()
    site.mark("healthy")
    site.pause(AFTER_S)


# What nobody could have saved


def _killed(books: Books) -> set[str]:
    """What the process had read and not answered: POSTs, and answers of which a part was on its way.

    And POSTs that were in its kernel's buffers when it died: they are in no journal, and who sent them cannot know.
    """
    failures = books.failures()
    cut = books.unanswered(FAULTY)
    posts = set(books.ids("got", FAULTY, method="POST"))
    journaled = set(books.ids("got"))
    lost = {name for name in cut if name in posts or failures.get(name) == "aborted"}
    sent = {each.id for each in books.requests if each.method == "POST" and not each.ok}
    for number in range(KILLS):
        lost |= (sent & books.between(f"before {number}", f"killed {number}")) - journaled
    return lost


def _during(begin: str, end: str, words: str) -> Perfect:
    return Perfect(words, lambda books: books.between(begin, end))


def _resets(books: Books) -> set[str]:
    """POSTs that failed and that nobody has read, as long as there are no more than connections can have had them.

    Which of the reset connections were for a POST is known to the proxy alone: half of them, give or take.
    """
    accepted = len(books.ids("accepted"))
    most = accepted / 2 + 4 * math.sqrt(accepted / 4)
    posts = {each.id for each in books.requests if each.method == "POST" and not each.ok}
    lost = posts - set(books.ids("got"))
    return lost if len(lost) <= most else set()


def _crossings(books: Books) -> int:
    """Those that could not be read, as they were encrypted, and what came between the look and the close."""
    posts = [each for each in books.requests if each.method == "POST"]
    unread = sum(name == "-" for name in books.ids("crossed"))
    return unread + math.ceil(CROSSING * len(posts))


# What else is to be seen


def _in_bounds(books: Books) -> Remark:
    peak = books.peak()
    return Remark(f"at most {peak} of {FEW} requests at an upstream", peak <= FEW)


def _avoided(books: Books) -> Remark:
    share = books.share(FAULTY)
    return Remark(f"the slow one got {share:.1%} of the requests", share < 0.1)


def _ejected(books: Books) -> Remark:
    """Each worker takes the failures that it needs to be sure, and what is under way by then."""
    failed, seen = len(books.ids("fault")), len(books.requests)
    most = WORKERS * FAILURES + CLIENTS // len(UPSTREAMS)
    return Remark(
        f"the upstream failed {failed} of {seen} requests, at most {most} are right", failed <= most
    )


def _thrifty(books: Books) -> Remark:
    """Retries are GETs that came to a second upstream."""
    retried = len(books.ids("got", method="GET")) - len(set(books.ids("got", method="GET")))
    most = round(BUDGET * len(books.requests) + WORKERS * UNPAID)
    return Remark(f"{retried} requests were sent again, at most {most} are right", retried <= most)


def _beyond_budget(books: Books) -> int:
    return max(0, len(set(books.ids("fault", method="GET"))) - round(BUDGET * len(books.requests)))


def _row(name: str, perfect: Perfect, kinds: frozenset[str] = frozenset(), **other: Any) -> Scenario:
    return Scenario(name, perfect, kinds, **other)


def _event(name: str, perfect: Perfect, kinds: frozenset[str] = frozenset(), **other: Any) -> Scenario:
    service = {"health": CHECKED, **other.pop("service", {})}
    return Scenario(name, perfect, kinds, service=service, think_s=THINK_S, **other)


_REPLAYED: Final = "nothing is lost: no request was sent"
_UNSENT: Final = Perfect(_REPLAYED, lambda _: set())
_UP_TO_HALF: Final = Perfect(
    "POSTs that nobody has read, if they are no more than half of the resets, within 4 standard deviations",
    _resets,
)
_RACE: Final = Perfect(
    "POSTs that the upstream had not read when it closed; it may have missed 1 in 1000",
    lambda books: set(books.ids("crossed", method="POST")),
    _crossings,
)
_THRIFTY: Final = Perfect(
    "POSTs that the upstream had read, and GETs beyond a fifth of all requests", POSTS.lost, _beyond_budget
)
_KILLED: Final = Perfect("what the process had taken when it died", _killed)
_DOWN: Final = "what was under way while there was nobody"
_REFUSALS: Final = Perfect(
    "each 503: a request too many",
    lambda books: {name for name, kind in books.failures().items() if kind == "503"},
)

MATRIX: Final[tuple[Scenario, ...]] = (
    # no connection
    _row("refused", _UNSENT, fault=REFUSED),
    _row("unreachable", _UNSENT, fault=UNREACHABLE),
    _row("SYN dropped", _UNSENT, fault=upstream.DEAF, service={"timeouts": {"connect": "300ms"}}),
    _row("TLS: wrong certificate", _UNSENT, tls="wrong"),
    _row("reset on accept", _UP_TO_HALF, BAD_GATEWAY, fault=upstream.ON_ACCEPT),
    # before the answer
    _row("reset before the answer", POSTS, BAD_GATEWAY, fault="reset"),
    _row("reset before every answer", POSTS, BAD_GATEWAY, fault="reset", every=1),
    _row("closed before the answer", POSTS, BAD_GATEWAY, fault="close"),
    _row("reset in the head", POSTS, BAD_GATEWAY, fault="reset-in-head"),
    _row("TLS: reset before the answer", POSTS, BAD_GATEWAY, fault="reset", tls="right"),
    _row("closed in the head", POSTS, BAD_GATEWAY, fault="close-in-head"),
    _row("hangs before the answer", ALL, TIMED_OUT, fault="hang", service={"timeouts": IMPATIENT}),
    _row(
        "reset before every answer, retry budget 20 %",
        _THRIFTY,
        BAD_GATEWAY,
        fault="reset",
        every=1,
        service={"retries": {"attempts": 2, "budget": "20%"}},
        remark=_thrifty,
    ),
    # in the body
    _row("reset in a counted body", ALL, ABORTED, fault="reset-in-body"),
    _row("closed in a counted body", ALL, ABORTED, fault="close-in-body"),
    _row("reset in chunks", ALL, ABORTED, fault="reset-in-chunks"),
    _row("closed in chunks", ALL, ABORTED, fault="close-in-chunks"),
    _row("TLS: closed in chunks", ALL, ABORTED, fault="close-in-chunks", tls="right"),
    _row("hangs in chunks", ALL, ABORTED, fault="hang-in-chunks", service={"timeouts": IMPATIENT}),
    _row("Content-Length too large", ALL, ABORTED, fault="too-long", service={"timeouts": IMPATIENT}),
    # slow
    _row("slow head, a byte in 10 ms", NOTHING, fault="slow-head"),
    _row("slow body, a byte in 10 ms", NOTHING, fault="slow-body"),
    _row(
        "200 ms late, least_conn",
        NOTHING,
        fault="late",
        every=1,
        service={"balance": "least_conn"},
        remark=_avoided,
    ),
    _row("200 ms late, p2c", NOTHING, fault="late", every=1, service={"balance": "p2c"}, remark=_avoided),
    # the keep-alive race
    _row("closes after 1 to 5 ms idle", _RACE, BAD_GATEWAY, fault="idle-close", every=1),
    _row("closes after 1 to 5 ms idle, Keep-Alive: timeout=1", NOTHING, fault="idle-close-hint", every=1),
    _row("TLS: closes after 1 to 5 ms idle", _RACE, BAD_GATEWAY, fault="idle-close", every=1, tls="right"),
    _row("Connection: close on every answer", NOTHING, fault="one-request", every=1),
    # not HTTP
    _row("garbage", POSTS, BAD_GATEWAY, fault="garbage"),
    _row("HTTP/0.9", POSTS, BAD_GATEWAY, fault="http09"),
    _row("head of 256 KiB", POSTS, BAD_GATEWAY, fault="oversized-head"),
    _row("answers twice", NOTHING, fault="double"),
    _row("Content-Length too small", NOTHING, fault="extra"),
    # errors of the app
    _row("500 to every request", ALL, frozenset({"500"}), fault="error", every=1),
    _row(
        "500 to every request, with ejection",
        ALL,
        frozenset({"500"}),
        fault="error",
        every=1,
        service={"outlier": EJECTING},
        remark=_ejected,
    ),
    _row(
        "reset before every answer, with ejection",
        POSTS,
        BAD_GATEWAY,
        fault="reset",
        every=1,
        service={"outlier": EJECTING},
        remark=_ejected,
    ),
    # the process
    _event("SIGKILL and restart, three times", _KILLED, BAD_GATEWAY | ABORTED, fault="late", script=_kill),
    _event("SIGSTOP for 1 s", NOTHING, script=_stop),
    _event("ends gracefully: unhealthy first", NOTHING, script=_retire),
    _event("health flaps", NOTHING, script=_flap),
    # nobody left
    _event(
        "all killed, back after 1 s: fail",
        _during("before", "healthy", f"{_DOWN}, or nobody proven healthy"),
        BAD_GATEWAY | UNAVAILABLE | ABORTED,
        script=_all_down,
        service={"when_unhealthy": "fail"},
    ),
    _event(
        "all killed, back after 1 s: try_all",
        _during("before", "back", _DOWN),
        BAD_GATEWAY | ABORTED,
        script=_all_down,
        service={"when_unhealthy": "try_all"},
    ),
    _event(
        "all killed, back after 1 s: other_pool",
        _during("before", "noticed", "what was under way until the checks had noticed"),
        BAD_GATEWAY | ABORTED,
        script=_all_down,
        service={"when_unhealthy": "other_pool"},
    ),
    # too much
    _row(
        f"{FEW} requests at an upstream, with a queue",
        NOTHING,
        service={"limits": {"upstream_requests": FEW, "queue": 200}},
        remark=_in_bounds,
    ),
    _row(
        f"{FEW} requests at an upstream, without a queue",
        _REFUSALS,
        UNAVAILABLE,
        think_s=THINK_S / 5,
        service={"limits": {"upstream_requests": FEW}},
        remark=_in_bounds,
    ),
)
