from __future__ import annotations

from typing import Any

import click

from bgproxy.cli import lines
from bgproxy.cli.wording import clock

from .examples import NOW, SWITCHED, event


def test_a_switch_is_one_line() -> None:
    assert lines.switched(SWITCHED) == "web: blue → green  generation 12  1.8 ms"


def test_a_group_has_a_line_for_each_service() -> None:
    moves = [{"service": "web", "from": "blue", "to": "green"}, {"service": "api", "from": "b", "to": "a"}]
    answer = {**SWITCHED, "group": "shop", "from": None, "to": None, "services": moves}
    assert lines.switched(answer).splitlines() == [
        "web: blue → green  generation 12  1.8 ms",
        "api: b → a  generation 12  1.8 ms",
    ]


def test_force_and_held_requests_are_mentioned() -> None:
    shown = click.unstyle(lines.switched({**SWITCHED, "forced": True, "held_milliseconds": 2100.0}))
    assert shown == "web: blue → green  generation 12  1.8 ms  requests held for 2.10 s  forced"


def test_a_dry_run_says_who_would_move_and_why_not() -> None:
    answer: dict[str, Any] = {
        "dry_run": True,
        "would": "switch",
        "allowed": False,
        "refusal": "green is not healthy",
        "generation": 4,
        "service": "web",
        "from": "blue",
        "to": "green",
        "share_of_users_moving": 0.9,
        "services": [
            {
                "service": "web",
                "from": "blue",
                "to": "green",
                "upstreams": [{"upstream": "g:1", "health": "unhealthy", "reason": "refused"}],
                "in_flight": 12,
                "tunnels": 1,
            }
        ],
    }
    assert click.unstyle(lines.would(answer)).splitlines() == [
        "would switch web: blue → green",
        "it would be refused: green is not healthy",
        "users who would move: 90 %",
        "web: 12 in flight, 1 upgraded connection on blue",
        "  g:1  unhealthy  refused",
        "nothing was changed",
    ]


def test_a_canary_shows_its_share_and_its_rules() -> None:
    rules = [{"header": "x-canary", "value": "1"}, {"cookie": "beta", "value": "yes"}]
    assert (
        lines.canary({"weight": 10, "match": rules})
        == "canary 10 % and header x-canary=1 and cookie beta=yes"
    )
    assert lines.canary({"weight": 0, "match": rules[:1]}) == "canary header x-canary=1"
    assert lines.canary({"weight": 0, "match": []}) == "canary 0 %"
    assert (
        lines.canaried({"generation": 5, "service": "web", "canary": None}) == "web: no canary  generation 5"
    )


def test_a_drain_says_what_it_waits_for_until_it_is_safe_to_stop() -> None:
    drain = {"pool": "blue", "until": NOW + 12, "in_flight": 2, "tunnels": 1, "safe_to_stop": False}
    assert lines.draining(drain, NOW) == "blue: 2 in flight, 1 upgraded connection, 12 s left"
    done = {**drain, "in_flight": 0, "tunnels": 0, "safe_to_stop": True}
    assert (
        click.unstyle(lines.draining(done, NOW)) == "blue: 0 in flight, 0 upgraded connections, safe to stop"
    )


def test_an_event_is_one_line_whatever_its_text_is() -> None:
    shown = click.unstyle(lines.event(event(1, "blue → green\n\x1b[31m")))
    assert shown == f"{clock(NOW + 1)}  switch     web  blue → green��[31m"


def test_a_dry_run_that_only_names_its_services_is_shown_too() -> None:
    answer = {"dry_run": True, "would": "hold", "allowed": True, "services": ["web", "api"]}
    assert lines.would(answer) == "would hold web, api\nnothing was changed"
