"""The aiohttp application: what every call goes through before and after its handler."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware
from pydantic import ValidationError

from bgproxy.admin_api import access, content, openapi, problems, views
from bgproxy.admin_api.bodies import Change
from bgproxy.admin_api.desk import Desk
from bgproxy.admin_api.routes import CHANGES, EVENT_STREAM, VIEWS, ChangeRoute, ViewRoute
from bgproxy.admin_api.throttle import Throttle
from bgproxy.errors import ControlError, Invalid
from bgproxy.model import Role
from bgproxy.shared_memory.clients import network_of
from bgproxy.state.base import StoredResponse
from bgproxy.switch.calls import Call

logger = logging.getLogger("bgproxy.admin")

# Without a whole request head, whether it is the first one or the next.
IDLE_S: Final = 30.0
# Whoever asks these is a machine that decides by the answer whether we live.
UNLIMITED: Final = frozenset({"/healthz", "/readyz"})
KEY_CHARACTERS: Final = 255
UNIX: Final = b"unix"  # all who come over a unix socket are one client

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _WithoutQuotes(logging.Filter):
    """aiohttp's log quotes the line that it cannot parse, which may be a header with a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.exc_info = None
        return True


_without_quotes: Final = _WithoutQuotes()


def build(desk: Desk) -> web.Application:
    logging.getLogger("aiohttp.server").addFilter(_without_quotes)
    app = web.Application(middlewares=[_explain_errors, _throttled(desk)])
    for change in CHANGES:
        app.router.add_route(change.method, change.path, _change_handler(desk, change))
    for view in (*VIEWS, openapi.ROUTE):
        app.router.add_get(view.path, _view_handler(desk, view), allow_head=view.answer != EVENT_STREAM)
    return app


def runner(desk: Desk, shutdown_timeout_s: float) -> web.AppRunner:
    """The application behind aiohttp's server, which bounds the lines of a head itself: 8 KiB, and 128 of them."""
    return web.AppRunner(
        build(desk),
        access_log=None,
        auto_decompress=False,  # nobody packs bodies of calls, and a small one could become a large one
        keepalive_timeout=IDLE_S,
        shutdown_timeout=shutdown_timeout_s,
    )


@web.middleware
async def _explain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ControlError as error:
        return problems.problem(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problems.plain_problem(
            error.status,
            error.reason,
            f"{request.method} {request.path}: see /admin/openapi.json",
            headers={name: error.headers[name] for name in ("Allow",) if name in error.headers},
        )
    except Exception:  # a defect of ours: the operator gets an answer, the log gets the traceback
        logger.exception("%s %s failed", request.method, request.path)
        return problems.plain_problem(500, "Internal error", "bgproxy failed here; its log says more")


def _throttled(desk: Desk) -> Middleware:
    throttle = Throttle()

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in UNLIMITED:
            return await handler(request)
        per_s = desk.board.config.admin.requests_per_s
        client = network_of((request.remote or "").encode()) or UNIX
        throttle.admit(client, per_s, time.monotonic())
        try:
            return await handler(request)
        except access.Unauthenticated:
            throttle.punish(client, per_s, time.monotonic())
            raise

    return handle


def _admit(desk: Desk, request: web.Request, role: Role) -> access.Caller:
    admin = desk.board.config.admin
    access.check_host(admin, request.headers)
    caller = access.authenticate(admin, request.headers, request.remote or "unix")
    access.require(caller, role)
    return caller


def _view_handler(desk: Desk, route: ViewRoute) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        if route.role is not None:
            _admit(desk, request, route.role)
        return await route.handler(desk, request)

    return handle


def _change_handler(desk: Desk, route: ChangeRoute) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = _admit(desk, request, route.role)
        text = await content.read(request, desk.board.config.admin.body_bytes)
        body = _parse(route.body, text)
        key = request.headers.get("Idempotency-Key")
        if key is None:
            answer = await route.handler(desk, _call(caller, body, None), body, dict(_arguments(request)))
            return views.json(answer, route.success)
        if not 0 < len(key) <= KEY_CHARACTERS:
            raise Invalid(f"an Idempotency-Key has 1 to {KEY_CHARACTERS} characters")
        fingerprint = hashlib.sha256(
            b"\0".join((request.method.encode(), request.path_qs.encode(), text))
        ).hexdigest()
        stored = await desk.board.store.idempotent(key)
        if stored is not None:
            return _replay(stored, fingerprint)
        call = _call(caller, body, (key, fingerprint))
        answer = await route.handler(desk, call, body, dict(_arguments(request)))
        if not call.dry_run and await desk.board.store.idempotent(key) is None:
            # What made no generation has not been stored with one.
            await desk.board.store.remember(key, fingerprint, route.success, orjson.dumps(answer))
        return views.json(answer, route.success)

    return handle


def _call(caller: access.Caller, body: Change, key: tuple[str, str] | None) -> Call:
    return Call(caller.name, body.reason, body.dry_run, body.if_generation, key)


def _arguments(request: web.Request) -> dict[str, str]:
    return {**request.query, **request.match_info}


def _parse(model: type[Change], text: bytes) -> Change:
    try:
        return model.model_validate_json(text or b"{}")
    except ValidationError as error:
        rows = [
            {"path": ".".join(map(str, each["loc"])), "message": each["msg"]}
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        detail = "; ".join(f"{row['path'] or 'body'}: {row['message']}" for row in rows)
        raise Invalid(detail, problems=rows) from error


def _replay(stored: StoredResponse, fingerprint: str) -> web.Response:
    if stored.fingerprint != fingerprint:
        raise Invalid("this Idempotency-Key was used for another call: use a new one")
    return web.Response(
        status=stored.status,
        body=stored.body,
        content_type="application/json",
        headers={"Idempotency-Replayed": "true"},
    )
