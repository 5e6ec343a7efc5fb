"""The calls that change something: bodies in, switchboard, answers out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from bgproxy.admin_api import bodies
from bgproxy.admin_api.desk import Desk
from bgproxy.errors import Conflict, ControlError, HoldTimedOut, Invalid
from bgproxy.switch import decide
from bgproxy.switch.calls import Call

Json = dict[str, Any]


async def switch(desk: Desk, call: Call, body: bodies.SwitchRequest, _: dict[str, str]) -> Json:
    names = decide.name_services(desk.board.config, body.service, body.group)
    hold = None if body.hold is None else body.hold.limits()
    move = desk.board.switch(call, names, to=body.to, force=body.force, hold=hold)
    return await _counted(desk, "switch", body.group, call, move)


async def rollback(desk: Desk, call: Call, body: bodies.RollbackRequest, _: dict[str, str]) -> Json:
    names = decide.name_services(desk.board.config, body.service, body.group)
    hold = None if body.hold is None else body.hold.limits()
    move = desk.board.rollback(call, names, force=body.force, hold=hold)
    return await _counted(desk, "rollback", body.group, call, move)


async def set_canary(desk: Desk, call: Call, body: bodies.CanaryRequest, _: dict[str, str]) -> Json:
    (name,) = decide.name_services(desk.board.config, body.service, None)
    match = tuple(each.match() for each in body.match)
    return await desk.board.set_canary(call, name, body.weight, match, force=body.force)


async def end_canary(desk: Desk, call: Call, body: bodies.ServiceChange, query: dict[str, str]) -> Json:
    (name,) = decide.name_services(desk.board.config, body.service or query.get("service"), None)
    return await desk.board.end_canary(call, name)


async def begin_maintenance(
    desk: Desk, call: Call, body: bodies.MaintenanceRequest, _: dict[str, str]
) -> Json:
    names = decide.name_services(desk.board.config, body.service, body.group)
    return await desk.board.begin_maintenance(call, names, body.maintenance())


async def end_maintenance(desk: Desk, call: Call, body: bodies.GroupChange, query: dict[str, str]) -> Json:
    service, group = body.service or query.get("service"), body.group or query.get("group")
    return await desk.board.end_maintenance(call, decide.name_services(desk.board.config, service, group))


async def hold(desk: Desk, call: Call, body: bodies.HoldRequest, _: dict[str, str]) -> Json:
    names = decide.name_services(desk.board.config, body.service, body.group)
    return await desk.board.hold(call, names, body.limits())


async def release_hold(desk: Desk, call: Call, body: bodies.GroupChange, _: dict[str, str]) -> Json:
    names = decide.name_services(desk.board.config, body.service, body.group)
    return await desk.board.release_hold(call, names)


async def set_pool(desk: Desk, call: Call, body: bodies.PoolRequest, path: dict[str, str]) -> Json:
    (name,) = decide.name_services(desk.board.config, path["service"], None)
    return await desk.board.set_pool(call, name, path["pool"], body.version, body.members(), force=body.force)


async def drain(desk: Desk, call: Call, body: bodies.DrainRequest, path: dict[str, str]) -> Json:
    (name,) = decide.name_services(desk.board.config, path["service"], None)
    return await desk.board.drain(call, name, body.pool)


async def reload(desk: Desk, call: Call, _: bodies.Change, __: dict[str, str]) -> Json:
    if call.dry_run:
        raise Invalid("a reload has no dry run; `bgproxy check` finds the errors of the file")
    changed = await desk.reload(call)
    return {"generation": desk.board.desired.generation, "changed": changed}


async def upgrade(desk: Desk, call: Call, _: bodies.Change, __: dict[str, str]) -> Json:
    if call.dry_run:
        raise Invalid("an upgrade has no dry run")
    refusal = await desk.upgrade(call)
    if refusal is not None:
        raise Conflict(refusal, generation=desk.board.desired.generation)
    return {"pid": desk.supervisor_pid, "detail": "the program on disk takes over; connections are kept"}


async def _counted(desk: Desk, action: str, group: str | None, call: Call, move: Awaitable[Json]) -> Json:
    try:
        answer = await move
    except ControlError as refusal:
        if not call.dry_run:
            desk.switches[action, "timed_out" if isinstance(refusal, HoldTimedOut) else "refused"] += 1
        raise
    if not call.dry_run:
        desk.switches[action, "done"] += 1
    return answer if group is None else {**answer, "group": group}
