from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bgproxy.admin_api import bodies
from bgproxy.admin_api.routes import CHANGES
from bgproxy.model import Maintenance, Match, Upstream
from bgproxy.switch.calls import HoldLimits

HOLD = HoldLimits()


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        (None, None),
        ("5s", HoldLimits(5.0)),
        ("250ms", HoldLimits(0.25)),
        (2, HoldLimits(2.0)),
        ({}, HOLD),
        (
            {"timeout": "1m", "max_requests": 5, "max_bytes": "1KiB"},
            HoldLimits(60.0, 5, 1024),
        ),
    ],
)
def test_a_hold_is_a_duration_or_all_of_its_limits(given: Any, limits: HoldLimits | None) -> None:
    hold = bodies.SwitchRequest.model_validate({"hold": given}).hold
    assert (None if hold is None else hold.limits()) == limits


@pytest.mark.parametrize(
    "given", [True, "0s", "301s", "never", -1, {"max_requests": 0}, {"max_bytes": "0B"}, []]
)
def test_a_hold_is_bounded(given: Any) -> None:
    with pytest.raises(ValidationError):
        bodies.SwitchRequest.model_validate({"hold": given})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 60), ("10m", 600), ("24h", 86400), (1, 1), (1.2, 2), ("1ms", 1)],
)
def test_clients_are_told_whole_seconds(given: Any, seconds: int) -> None:
    """RFC 9110 section 10.2.3."""
    sent = {} if given is None else {"retry_after": given}
    assert bodies.MaintenanceRequest.model_validate(sent).maintenance() == Maintenance(seconds)


@pytest.mark.parametrize("given", ["0s", -1, "never", "25h", "soon", True, None, "1e400", float("nan")])
def test_a_maintenance_says_when_to_come_back(given: Any) -> None:
    with pytest.raises(ValidationError):
        bodies.MaintenanceRequest.model_validate({"retry_after": given})


@pytest.mark.parametrize(
    ("model", "member", "value"),
    [
        (bodies.HoldRequest, "max_requests", bodies.MAX_HOLD_REQUESTS),
        (bodies.HoldRequest, "max_bytes", bodies.MAX_HOLD_BYTES),
        (bodies.HoldRequest, "timeout", bodies.MAX_HOLD_S),
    ],
)
def test_nothing_is_so_large_that_a_snapshot_could_not_say_it(
    model: type[bodies.Body], member: str, value: int
) -> None:
    model.model_validate({member: value})
    with pytest.raises(ValidationError):
        model.model_validate({member: value + 1})


@pytest.mark.parametrize("kind", ["header", "cookie", "query"])
def test_a_rule_has_one_kind_and_a_value(kind: str) -> None:
    assert bodies.MatchBody.model_validate({kind: "x", "value": "1"}).match() == Match(kind, "x", "1")
    for wrong in ({kind: "x"}, {"value": "1"}, {"header": "a", "cookie": "b", "query": "c", "value": "1"}):
        with pytest.raises(ValidationError):
            bodies.MatchBody.model_validate(wrong)


@pytest.mark.parametrize("weight", [-1, 101, 1.5, None])
def test_a_canary_is_a_whole_percentage(weight: Any) -> None:
    with pytest.raises(ValidationError):
        bodies.CanaryRequest.model_validate({"weight": weight})


def test_upstreams_are_addresses_with_or_without_a_weight() -> None:
    request = bodies.PoolRequest.model_validate(
        {"upstreams": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 3}]}
    )
    assert request.members() == (Upstream("10.0.0.1:80"), Upstream("10.0.0.2:80", 3))


def test_every_request_takes_the_guards_and_says_what_its_members_mean() -> None:
    for route in CHANGES:
        fields = route.body.model_fields
        assert {"reason", "dry_run", "if_generation"} <= set(fields), route.path
        for name, field in fields.items():
            assert field.description, f"{route.path}: {name}"
