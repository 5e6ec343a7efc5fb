"""The OpenAPI document, made from the table that the server is made from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import bgproxy
from bgproxy.admin_api import access, bodies, views
from bgproxy.admin_api.desk import Desk
from bgproxy.admin_api.routes import CHANGES, VIEWS, ChangeRoute, ViewRoute

_REF = "#/components/schemas/{model}"
_PATH_PARAMETER = re.compile(r"{(\w+)}")


def document() -> dict[str, Any]:
    """The document as JSON values (OpenAPI 3.1)."""
    paths: dict[str, dict[str, Any]] = {}
    for route in CHANGES:
        paths.setdefault(route.path, {})[route.method.lower()] = _change(route)
    for view in (*VIEWS, ROUTE):
        paths.setdefault(view.path, {})["get"] = _view(view)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bgproxy admin API",
            "version": bgproxy.__version__,
            "description": "An empty body works wherever the answer is obvious.",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


async def get_document(desk: Desk, request: web.Request) -> web.StreamResponse:
    access.check_host(desk.board.config.admin, request.headers)
    return views.json(document())


ROUTE: Final = ViewRoute("/admin/openapi.json", "This document", get_document, bodies.Document, role=None)


# Private


def _schemas() -> dict[str, Any]:
    requests: list[type[BaseModel]] = [route.body for route in CHANGES]
    answers = [route.answer for route in (*CHANGES, *VIEWS, ROUTE)]
    models: Iterable[type[BaseModel]] = dict.fromkeys(
        [*requests, *(each for each in answers if not isinstance(each, str)), bodies.Problem]
    )
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _change(route: ChangeRoute) -> dict[str, Any]:
    return {
        "summary": route.summary,
        "description": f"Needs the role {route.role}.",
        "parameters": [
            *_parameters(route.path, route.query),
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}},
        ],
        "requestBody": {"required": False, "content": {"application/json": {"schema": _ref(route.body)}}},
        "responses": {
            str(route.success): {
                "description": "Done.",
                "content": {"application/json": {"schema": _ref(route.answer)}},
            },
            "default": _problem(),
        },
    }


def _view(route: ViewRoute) -> dict[str, Any]:
    if isinstance(route.answer, str):
        content = {route.answer: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": _ref(route.answer)}}
    responses = {"200": {"description": "What is asked for.", "content": content}}
    if route.also is not None:
        responses[str(route.also)] = {"description": "The same, and it is bad news.", "content": content}
    return {
        "summary": route.summary,
        "description": "Open to everybody." if route.role is None else f"Needs the role {route.role}.",
        "parameters": _parameters(route.path, route.query),
        "responses": {**responses, "default": _problem()},
    }


def _parameters(path: str, query: Iterable[str]) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(path)
    ]
    return [*in_path, *({"name": name, "in": "query", "schema": {"type": "string"}} for name in query)]


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _problem() -> dict[str, Any]:
    return {
        "description": "Why not.",
        "content": {"application/problem+json": {"schema": _ref(bodies.Problem)}},
    }
