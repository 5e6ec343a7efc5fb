from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from bgproxy.errors import Conflict
from bgproxy.model import (
    AccessLog,
    Admin,
    Canary,
    Config,
    Listener,
    Maintenance,
    Match,
    Policy,
    Pool,
    Role,
    Service,
    Token,
)
from bgproxy.switch import answers
from bgproxy.switch.decide import Move

WEB = Service("web", {"blue": Pool(), "green": Pool()}, "blue")
CONFIG = Config({"web": WEB}, listeners=())


def test_a_canary_is_told_as_it_was_asked_for() -> None:
    canary = Canary(5, (Match("header", "x-c", "1"), Match("query", "q", "2")), "salt")
    assert answers.canary_json(canary) == {
        "weight": 5,
        "match": [{"header": "x-c", "value": "1"}, {"query": "q", "value": "2"}],
        "salt": "salt",
    }
    assert answers.canary_json(None) is None


def test_a_maintenance_is_told_as_it_was_asked_for() -> None:
    told = answers.maintenance_json(Maintenance(90, "moving"))
    assert told == {"retry_after": 90, "reason": "moving"}
    assert answers.maintenance_json(None) is None


def test_the_way_of_one_service_is_told_in_short_as_well() -> None:
    assert answers.route([Move("web", "blue", "green")]) == {
        "service": "web",
        "from": "blue",
        "to": "green",
        "services": [{"service": "web", "from": "blue", "to": "green"}],
    }


def test_ways_that_differ_are_told_one_by_one_only() -> None:
    route = answers.route([Move("web", "blue", "green"), Move("api", "green", "blue")])
    assert (route["service"], route["from"], route["to"]) == (None, None, None)
    assert len(route["services"]) == 2


def test_a_dry_run_has_a_refusal_or_is_allowed() -> None:
    assert answers.would("switch") == {
        "dry_run": True,
        "would": "switch",
        "allowed": True,
        "refusal": None,
    }
    refused = answers.would("switch", Conflict("no"))
    assert (refused["allowed"], refused["refusal"]) == (False, "no")


def test_every_part_of_a_configuration_that_can_be_reloaded_is_told() -> None:
    """Or else a reload of it alone would do nothing. The others need a restart, and are refused before."""
    fixed = {"state_backend", "state_path", "resolve_interval_s"}
    other: Any = {"other": WEB}
    for part in fields(Config):
        after = replace(CONFIG, **{part.name: other})
        assert bool(answers.describe_changes(CONFIG, after)) is (part.name not in fixed), part.name


@pytest.mark.parametrize("setting", [each.name for each in fields(Policy)])
def test_every_setting_of_a_policy_counts(setting: str) -> None:
    other: Any = "other"
    service = replace(WEB, policy=replace(WEB.policy, **{setting: other}))
    assert answers.describe_changes(CONFIG, replace(CONFIG, services={"web": service})) == [
        "service web changed"
    ]


@pytest.mark.parametrize("setting", [each.name for each in fields(Listener)])
def test_every_setting_of_a_listener_counts(setting: str) -> None:
    other: Any = "other"
    before = Listener("public", "0.0.0.0:80")
    after = replace(before, **{setting: other})
    assert answers.describe_changes(
        replace(CONFIG, listeners=(before,)), replace(CONFIG, listeners=(after,))
    ) == ["listeners changed"]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (CONFIG, []),
        (replace(CONFIG, services={}), ["service web removed"]),
        (replace(CONFIG, services={"web": replace(WEB, hosts=("x",))}), ["service web changed"]),
        (
            replace(CONFIG, services={"web": WEB, "api": replace(WEB, name="api")}, groups={"g": ("web",)}),
            ["service api added", "groups changed"],
        ),
        (replace(CONFIG, admin=Admin(tokens=(Token("t", Role.ADMIN, "hush"),))), ["admin changed"]),
        (
            replace(CONFIG, shutdown_timeout_s=1.0, workers=9),
            ["workers changed", "shutdown.timeout changed"],
        ),
        (replace(CONFIG, access_log=AccessLog()), ["access_log changed"]),
    ],
)
def test_changes_of_the_configuration_are_told_in_words_and_without_values(
    after: Config, told: list[str]
) -> None:
    assert answers.describe_changes(CONFIG, after) == told
