"""The calls that only look."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import asdict
from typing import Any, Final

import orjson
from aiohttp import web

import bgproxy
from bgproxy.admin_api.desk import Desk
from bgproxy.build import COMPILED
from bgproxy.engines.base import UNROUTED
from bgproxy.errors import Invalid, NotFound, one_of
from bgproxy.observability import metrics
from bgproxy.switch import status

Json = dict[str, Any]

# In 64 bits, as stores keep them.
NUMBER: Final = re.compile(r"[0-9]{1,18}")


async def get_status(desk: Desk, request: web.Request) -> web.Response:  # noqa: ARG001 - one signature
    return json(_status(desk))


async def get_services(desk: Desk, request: web.Request) -> web.Response:  # noqa: ARG001 - one signature
    return json({"services": status.services_status(desk.board)})


async def get_service(desk: Desk, request: web.Request) -> web.Response:
    name = request.match_info["service"]
    for each in status.services_status(desk.board):
        if each["service"] == name:
            return json(each)
    raise _no_service(desk, name)


async def get_history(desk: Desk, request: web.Request) -> web.Response:
    limit, before = _number(request, "limit", 50), _number(request, "before", None)
    assert limit is not None  # noqa: S101 - it has a default
    service = request.query.get("service")
    rows = await desk.board.store.history(min(limit, 1000), before, service)
    if service is not None and not rows and before is None and service not in desk.board.config.services:
        raise _no_service(desk, service)  # neither now nor ever
    return json({"history": [asdict(row) for row in rows]})


async def get_healthz(desk: Desk, request: web.Request) -> web.Response:  # noqa: ARG001 - one signature
    return json({"status": "ok"})


async def get_readyz(desk: Desk, request: web.Request) -> web.Response:  # noqa: ARG001 - one signature
    workers = [each for each in status.workers_status(desk.board.engine) if each["state"] == "serving"]
    reasons = []
    if not workers:
        reasons.append("no worker serves")
    if not desk.board.engine.is_live():
        reasons.append("a worker has not seen the current snapshot yet")
    body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return json(body, 503 if reasons else 200)


async def get_metrics(desk: Desk, request: web.Request) -> web.Response:  # noqa: ARG001 - one signature
    sample = _sample(desk)
    return web.Response(
        # In a thread: writing down thousands of series must not keep a switch waiting.
        body=await asyncio.to_thread(metrics.render, lambda: sample),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


def json(value: Json, code: int = 200) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(value) + b"\n", content_type="application/json")


# Private


def _no_service(desk: Desk, name: str) -> NotFound:
    return NotFound(f"there is no service {name!r}: {one_of('service', desk.board.config.services)}")


def _number(request: web.Request, name: str, default: int | None) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    if not NUMBER.fullmatch(text) or int(text) < 1:
        raise Invalid(f"{name} is {text!r}: it has to be a positive number")
    return int(text)


def _status(desk: Desk) -> Json:
    engine = desk.board.engine
    return {
        "generation": desk.board.desired.generation,
        "sequence": engine.sequence,
        "version": bgproxy.__version__,
        "compiled": COMPILED,
        "supervisor_pid": desk.supervisor_pid,
        "controller": {"pid": os.getpid(), "started_at": desk.started_at},
        "listeners": [
            {"name": name, "bind": bind, "address": address, "preview": preview}
            for name, bind, address, preview in desk.listeners
        ],
        "workers": status.workers_status(engine),
        "services": status.services_status(desk.board),
    }


def _sample(desk: Desk) -> metrics.Sample:
    board, engine = desk.board, desk.board.engine
    services = []
    for service in status.services_status(board):
        name = service["service"]
        pools = [
            metrics.PoolSample(
                pool,
                state["version"],
                state["role"] == "active",
                [
                    metrics.UpstreamSample(
                        each["upstream"],
                        each["health"],
                        each["weight"],
                        engine.totals((name, pool, each["address"])),
                    )
                    for each in state["upstreams"]
                ],
            )
            for pool, state in service["pools"].items()
        ]
        weight = service["canary"]["weight"] if service["canary"] else 0
        mirror = engine.mirror_totals(name) if board.config.services[name].policy.mirror else None
        services.append(
            metrics.ServiceSample(
                name,
                weight,
                engine.totals((name,)),
                pools,
                mirror,
                in_maintenance=bool(service["maintenance"]),
            )
        )
    return metrics.Sample(
        generation=board.desired.generation,
        sequence=engine.sequence,
        unrouted=engine.totals(UNROUTED),
        accepted=engine.accepted(),
        log_dropped=engine.log_dropped(),
        services=services,
        workers=list(engine.workers()),
        switches=dict(desk.switches),
    )
