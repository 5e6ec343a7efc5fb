"""Service views for tests: only what a test is about has to be said."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from bgproxy.model import Policy, PoolView, ServiceView

_POLICY = {field.name for field in fields(Policy)}
_NOBODY = PoolView("blue", "", ())


def service_view(**changes: Any) -> ServiceView:
    """`changes` are fields of the view or of its policy."""
    view = ServiceView(
        name="web",
        slot=1,
        tag=1,
        hosts=(),
        paths=("/",),
        active=_NOBODY,
        idle=replace(_NOBODY, name="green"),
    )
    return changed(view, **changes)


def changed(view: ServiceView, **changes: Any) -> ServiceView:
    policy = {name: value for name, value in changes.items() if name in _POLICY}
    others = {name: value for name, value in changes.items() if name not in _POLICY}
    return replace(view, policy=replace(view.policy, **policy), **others)
