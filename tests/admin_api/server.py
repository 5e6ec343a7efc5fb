"""The admin API on a real socket, above a stage. Every answer is held against the OpenAPI document."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import aiohttp
import orjson
from aiohttp import web
from jsonschema import Draft202012Validator

from bgproxy.admin_api import app, openapi
from bgproxy.admin_api.desk import Desk
from bgproxy.model import Admin, Config, Role, Token
from bgproxy.switch.calls import Call
from tests.switch.stage import TEXT, Stage, stage

DOCUMENT = openapi.document()
SECRETS = {role: f"secret-of-{role}-0123456789" for role in Role}
TOKENS = tuple(Token(f"the-{role}", role, secret) for role, secret in SECRETS.items())


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.text)


@dataclass
class Server:
    stage: Stage
    desk: Desk
    url: str
    session: aiohttp.ClientSession
    reloads: list[Call] = field(default_factory=list)
    refusal: str | None = None  # of an upgrade
    answered: set[tuple[str, str, int]] = field(default_factory=set)  # method, path as documented, status

    @contextlib.asynccontextmanager
    async def again(self) -> AsyncIterator[Server]:
        """The same API behind another server, with the settings of this moment."""
        async with listening(self.desk) as url:
            yield replace(self, url=url)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        role: Role | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | BinaryIO | None = None,
    ) -> Answer:
        """`role` picks a token; without one nothing is said about who calls."""
        sent = dict(headers or {})
        if role is not None:
            sent["Authorization"] = f"Bearer {SECRETS[role]}"
        content = data if body is None else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=content, headers=sent) as response:
            answer = Answer(response.status, dict(response.headers), await response.text())
            if method != "HEAD":
                self._compare(method, path.partition("?")[0], response.content_type, answer)
            return answer

    def _compare(self, method: str, path: str, media: str, answer: Answer) -> None:
        template = template_of(path)
        documented = DOCUMENT["paths"].get(template, {}).get(method.lower(), {}).get("responses", {})
        holder = documented.get(str(answer.status))
        if holder is None:
            assert answer.status >= 400, answer
            assert media == "application/problem+json", answer
            validate(answer.json, {"$ref": "#/components/schemas/Problem"})
            assert answer.json["status"] == answer.status
        else:
            schema = holder["content"][media]["schema"]
            if media == "application/json":
                validate(answer.json, schema)
        self.answered.add((method, template, answer.status))


def template_of(path: str) -> str:
    """The path as the document has it, or as it is."""
    for template in DOCUMENT["paths"]:
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return str(template)
    return path


def validate(value: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


@contextlib.asynccontextmanager
async def listening(desk: Desk) -> AsyncIterator[str]:
    runner = app.runner(desk, shutdown_timeout_s=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def serving(
    services: tuple[str, ...] = ("web",),
    *,
    admin: Admin = Admin(),  # noqa: B008 - frozen
    upstreams: int = 1,
    change: Callable[[Config], Config] = lambda config: config,
) -> AsyncIterator[Server]:
    async with stage(
        services, upstreams=upstreams, change=lambda config: change(replace(config, admin=admin))
    ) as below:
        server: Server

        async def reload(call: Call) -> list[str]:
            server.reloads.append(call)
            return await below.board.reconfigure(call, replace(below.board.config, workers=9), TEXT)

        async def upgrade(_: Call) -> str | None:
            return server.refusal

        desk = Desk(below.board, 4711, [("public", "0.0.0.0:80", "127.0.0.1:8080", False)], reload, upgrade)
        async with listening(desk) as url, aiohttp.ClientSession() as session:
            server = Server(below, desk, url, session)
            try:
                yield server
            finally:
                below.events.close()
                await session.close()
