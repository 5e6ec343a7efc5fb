"""The reference of every setting, in Markdown, from the schema. `docs/reference/configuration.md` is its output.

Adds no fact of its own about a setting: what is missing here is missing in the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bgproxy.config import quantities, values
from bgproxy.config.json_schema import plain_schema

_HEAD = """\
# Configuration

Every setting of the configuration file. This page is generated from the settings themselves.

- Durations have a unit: `250ms`, `2s`, `5m`, `1h`; `never` where the type says so.
- `${NAME}` is replaced by an environment variable, `${NAME:-default}` by the default where it is unset or empty.
  `$${` stands for `${`. A value that is filled in stays one value: it cannot add settings.
- Secrets come from variables (`*_env`) or files (`*_file`), and never from the file itself.
- Names of services, pools, groups, listeners and tokens have 1 to 63 letters, digits, `-` and `_`.
- Anchors, aliases and `<<` work as in YAML; unknown and repeated keys are errors.
- `bgproxy check` reports all errors at once, `bgproxy schema` prints a JSON Schema for editors.
"""

_PATTERNS = {
    f"^({quantities.DURATION_PATTERN}|{quantities.NEVER})$": "duration or `never`",
    f"^({quantities.DURATION_PATTERN})$": "duration",
    f"^({quantities.PERCENT_PATTERN})$": "percentage",
    f"^({values.NAME_PATTERN})$": "name",
    "^/": "path",
}


def reference() -> str:
    schema = plain_schema()
    lines = [_HEAD]
    for name, field in schema["properties"].items():
        lines += [f"## {name}", "", "| setting | type | default | meaning |", "|---|---|---|---|"]
        lines += _rows(name, field, schema, required=name in schema["required"])
        lines.append("")
    return "\n".join(lines)


# Private


def _rows(path: str, field: dict[str, Any], schema: dict[str, Any], *, required: bool) -> Iterator[str]:
    default = f"`{_plain(field['default'])}`" if "default" in field else "required" if required else "none"
    settings, suffix = _settings_in(field, schema)
    shown = "see below" if "$ref" in field and "default" not in field and not required else default
    cells = (f"`{path}`", _type(field, schema), shown, field["description"])
    yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    for name, inner in (settings or {}).get("properties", {}).items():
        needed = name in (settings or {}).get("required", ())
        yield from _rows(f"{path}{suffix}.{name}", inner, schema, required=needed)


def _settings_in(field: dict[str, Any], schema: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The settings that a value of this field holds, and what leads to them: an index or a name."""
    if "$ref" in field:
        target = _target(field, schema)
        return (target if "properties" in target else None), ""
    for choice in field.get("anyOf", ()):
        found, suffix = _settings_in(choice, schema)
        if found is not None:
            return found, suffix
    if "items" in field:
        found, suffix = _settings_in(field["items"], schema)
        return found, f"[]{suffix}"
    for inner in field.get("patternProperties", {}).values():
        found, suffix = _settings_in(inner, schema)
        return found, f".<name>{suffix}"
    return None, ""


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in field:
        target = _target(field, schema)
        return "settings" if "properties" in target else _type(target, schema)
    if "anyOf" in field:
        return " or ".join(_type(one, schema) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    match field["type"]:
        case "array":
            item = _type(field["items"], schema)
            return f"list of ({item})" if " or " in item else f"list of {item}"
        case "object":
            inner = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
            return f"{_type(inner[0], schema)} by name"
        case "integer":
            least, most = field.get("minimum"), field.get("maximum")
            return f"number, {least} to {most}" if most is not None else f"number, at least {least}"
        case "boolean":
            return "`true`, `false`"
    if field.get("format") == "regex":
        return "regular expression"
    return _PATTERNS.get(field.get("pattern", ""), "text")


def _target(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = schema["$defs"][field["$ref"].rpartition("/")[2]]
    return target


def _plain(default: object) -> str:
    return default if isinstance(default, str) and default else json.dumps(default)
