"""Whether a proxy does the work that the comparison takes for granted, seen from both of its ends.

It asks before anything is measured, and refuses to go on with one that leaves out what others do.
"""

from __future__ import annotations

import json
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders.process import ContenderError, client, get
from benchmarks.contenders.program import AUTHORITY, Place
from benchmarks.scenarios import CANARY_PERCENT, SERVICES, SMALL, TOLD, Setting, host

# Enough that one who splits by chance is outside these bounds once in a million times.
ASKED: Final = 200
_LEAST: Final = ASKED * CANARY_PERCENT // 500
_MOST: Final = ASKED * CANARY_PERCENT * 3 // 100

Told = dict[str, Any]


def check(name: str, place: Place) -> tuple[str, ...]:
    """What the clients of a sticky canary have to send as `Cookie`; nothing in other settings."""
    if place.setting is Setting.WEBSOCKET:
        return ()  # its backend says nothing; the load generator checks every answer
    authority = place.behind.certificates / AUTHORITY if place.setting is Setting.TLS else None
    answers, cookies = _ask(place, authority, ASKED)
    _check_told(name, place, answers)
    match place.setting:
        case Setting.CANARY:
            _check_share(name, place, answers)
        case Setting.STICKY:
            _check_share(name, place, answers)
            _check_sides(name, place, cookies, [answer["port"] for answer in answers])
        case Setting.SERVICES:
            _check_services(name, place)
        case Setting.ACCESS_LOG | Setting.PLAIN | Setting.TLS | Setting.UPSTREAMS:
            pass
    return tuple(cookies) if place.setting is Setting.STICKY else ()


def is_logged(path: Path) -> bool:
    """Whether the access log has what `check` has asked for; most programs write it some time later."""
    return path.exists() and TOLD in path.read_text(errors="replace")


# Private


def _ask(place: Place, authority: Path | None, times: int) -> tuple[list[Told], list[str]]:
    answers, cookies = [], []
    with client(place.port, authority) as connection:
        for _ in range(times):
            status, body, headers = get(connection, TOLD)
            if status != 200:
                raise ContenderError(f"{place.directory.name} answered {TOLD} with {status}: {body!r}")
            answers.append(json.loads(body))
            jar = SimpleCookie("; ".join(headers.get_all("Set-Cookie", [])))
            cookies.append("; ".join(f"{cookie.key}={cookie.coded_value}" for cookie in jar.values()))
    return answers, cookies


def _check_told(name: str, place: Place, answers: list[Told]) -> None:
    last = answers[-1]
    # Which address does not matter: for a client on loopback, Envoy names the machine's own.
    wanted = {"host": host(0), "for": last["for"] or "an address", "proto": place.scheme}
    for member, value in wanted.items():
        if last[member] != value:
            raise ContenderError(f"{name} tells the backend {member} {last[member]!r} instead of {value!r}")
    # Of a thousand upstreams, none is asked twice here.
    if place.setting is not Setting.UPSTREAMS and max(answer["before"] for answer in answers) <= 2:
        raise ContenderError(f"{name} opens a connection to the backend for each request")


def _check_share(name: str, place: Place, answers: list[Told]) -> None:
    green = sum(answer["port"] == place.behind.green for answer in answers)
    if not _LEAST <= green <= _MOST:
        raise ContenderError(
            f"{name} sent {green} of {len(answers)} requests to the canary of {CANARY_PERCENT} %"
        )


def _check_sides(name: str, place: Place, cookies: list[str], ports: list[int]) -> None:
    """Every cookie leads to where it came from."""
    with client(place.port) as connection:
        for cookie, port in zip(cookies, ports, strict=True):
            _, body, _ = get(connection, TOLD, {"Cookie": cookie} if cookie else {})
            if not cookie or json.loads(body)["port"] != port:
                raise ContenderError(f"{name} does not keep a client with the cookie {cookie!r} on its side")


def _check_services(name: str, place: Place) -> None:
    with client(place.port) as connection:
        for number in range(SERVICES):
            status, _, _ = get(connection, SMALL, {"Host": host(number)})
            if status != 200:
                raise ContenderError(f"{name} answered for {host(number)} with {status}")
