"""The reference of every admin call, in Markdown, from the OpenAPI document. `docs/reference/admin-api.md` is its output.

Adds no fact of its own about a call: what is missing here is missing in the document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bgproxy.admin_api.openapi import document

_HEAD = """\
# Admin API

Every call of the admin API. This page is generated from the OpenAPI document, which a running bgproxy serves at
`/admin/openapi.json`.

- JSON in and out; a request without a body is one with an empty body. Unknown members are errors.
- Where tokens are configured, send `Authorization: Bearer TOKEN`. Each role includes the ones before it: viewer, operator, admin.
- A change with an `Idempotency-Key` that was answered before gets the same answer again, with `Idempotency-Replayed: true`.
- Errors are `application/problem+json` (RFC 9457); `detail` says what is wrong and what to do.
- One address (of IPv6: one /64; all of a unix socket) may make `admin.requests_per_second` calls a second, twice as many at once, and gets
  429 with `Retry-After` beyond. A failed authentication counts as 10 calls; over the limit no token is looked at, not even a right one.
  `/healthz` and `/readyz` do not count.
- A body has at most `admin.body` bytes (413), which are not unpacked, and has to arrive within 30 s (408). A head has lines of at most 8 KiB
  and has to arrive within 30 s of the connection or of the answer before. 512 connections at once; further ones are closed.
- Requests with a foreign `Host` or `Origin` are refused: add names to `admin.hosts`.

## Calls
"""


def reference() -> str:
    whole = document()
    lines = [_HEAD.rstrip()]
    for path, methods in whole["paths"].items():
        for method, call in methods.items():
            lines += _call(f"{method.upper()} {path}", call)
    lines += ["", "## Bodies and answers"]
    for name, schema in whole["components"]["schemas"].items():
        lines += _schema(name, schema)
    return "\n".join(lines) + "\n"


# Private


def _call(title: str, call: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"### {title}", "", f"{call['summary']}. {call['description']}", "")
    parameters = [
        f"`{each['name']}` ({each['in']})" for each in call["parameters"] if each["in"] in {"path", "query"}
    ]
    if parameters:
        yield f"- parameters: {', '.join(parameters)}"
    if "requestBody" in call:
        yield f"- body: {_content(call['requestBody'])}"
    for status, answer in call["responses"].items():
        yield f"- {'otherwise' if status == 'default' else status}: {_content(answer)}"


def _content(holder: dict[str, Any]) -> str:
    ((media, content),) = holder["content"].items()
    return _type(content["schema"]) if "$ref" in content["schema"] else f"`{media}`"


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"### {name}")
    if "description" in schema:
        yield from ("", schema["description"])
    if "enum" in schema:
        yield from ("", _type(schema))
    if not schema.get("properties"):
        return
    yield from ("", "| member | type | default | meaning |", "|---|---|---|---|")
    for member, field in schema["properties"].items():
        required = member in schema.get("required", ())
        default = (
            "required" if required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
        )
        cells = (f"`{member}`", _type(field), default, field.get("description", ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = field.get("type", "any")
    if kind == "array":
        return f"list of {_type(field['items'])}"
    values = field.get("additionalProperties")
    if kind == "object" and isinstance(values, dict):
        return f"{_type(values)} by name"
    limits = [
        f"{word} {field[name]}"
        for name, word in (
            ("exclusiveMinimum", "above"),
            ("minimum", "at least"),
            ("maximum", "at most"),
        )
        if name in field
    ]
    return ", ".join([str(kind), *limits])
