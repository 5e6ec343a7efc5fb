from __future__ import annotations

from dataclasses import replace

import pytest

from bgproxy.errors import Conflict
from bgproxy.model import Admin, Canary, Config, Match, Pool, Role, Service, Token
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
    ],
)
def test_changes_of_the_configuration_are_told_in_words_and_without_values(
    after: Config, told: list[str]
) -> None:
    assert answers.describe_changes(CONFIG, after) == told
