from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from bgproxy.admin_api import app, openapi
from bgproxy.admin_api.routes import EVENT_STREAM

from .server import DOCUMENT, Server


def refs(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(refs(each) for each in value.values()))
    return set().union(*(refs(each) for each in value)) if isinstance(value, list) else set()


async def test_what_is_served_is_what_is_documented(api: Server) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in app.build(api.desk).router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    documented = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert served == documented


async def test_the_document_is_served(api: Server) -> None:
    answer = await api.call("GET", "/admin/openapi.json")
    assert answer.json == openapi.document() == DOCUMENT
    assert answer.json["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert refs(DOCUMENT) == {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_path_parameter_is_declared() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for call in methods.values():
            declared = [each["name"] for each in call["parameters"] if each["in"] == "path"]
            assert path.count("{") == len(declared)
            assert all(f"{{{name}}}" in path for name in declared)


def test_every_change_takes_an_idempotency_key() -> None:
    for methods in DOCUMENT["paths"].values():
        for method, call in methods.items():
            names = [each["name"] for each in call["parameters"]]
            assert ("Idempotency-Key" in names) is (method != "get")


def test_requests_do_not_allow_what_they_do_not_know() -> None:
    for methods in DOCUMENT["paths"].values():
        for call in methods.values():
            if "requestBody" in call:
                ref = call["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                schema = DOCUMENT["components"]["schemas"][ref.rpartition("/")[2]]
                assert schema["additionalProperties"] is False


def test_streams_are_documented_by_their_media_type() -> None:
    content = DOCUMENT["paths"]["/admin/events"]["get"]["responses"]["200"]["content"]
    assert list(content) == [EVENT_STREAM]
