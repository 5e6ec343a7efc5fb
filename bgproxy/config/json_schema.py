"""The JSON Schema of the configuration file, for editors and for the reference.

Says what one setting may be. What relates two settings is checked by `load` only.
"""

from __future__ import annotations

from typing import Any

from bgproxy.config.schema import File
from bgproxy.config.settings import Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_RESTRICTS = {"pattern", "enum", "const", "format"}
_ABOUT = {"description", "default"}


def json_schema() -> dict[str, Any]:
    """Wherever text is restricted, or something else than text expected, a `${VARIABLE}` may stand too."""
    schema = plain_schema()
    enums = {f"#/$defs/{name}" for name, definition in schema["$defs"].items() if "enum" in definition}
    for settings in _all_settings(schema).values():
        properties = settings["properties"]
        settings["properties"] = {name: _or_variable(field, enums) for name, field in properties.items()}
    return schema


def plain_schema() -> dict[str, Any]:
    """The same without variables: what the values have to be in the end."""
    schema: dict[str, Any] = {"$schema": _DIALECT, **File.model_json_schema()}
    classes = {settings.__name__: settings for settings in Settings.__subclasses__()}
    for name, settings in _all_settings(schema).items():
        defaults = classes[name].model_construct().model_dump(mode="json")
        for key, field in settings["properties"].items():
            field.pop("title", None)  # the key again, in capitals
            field.pop("default", None)
            if key == "workers":
                field["default"] = "auto"  # not the number that it is on this machine
            elif not isinstance(defaults.get(key), dict | None) or defaults.get(key) == {}:
                field["default"] = defaults[key]
            if "patternProperties" in field:
                field["additionalProperties"] = False
    return schema


# Private


def _all_settings(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    definitions = {schema["title"]: schema, **schema["$defs"]}
    return {name: definition for name, definition in definitions.items() if "properties" in definition}


def _or_variable(field: dict[str, Any], enums: set[str]) -> dict[str, Any]:
    if field.get("type") in {"integer", "boolean"} or _RESTRICTS & field.keys() or field.get("$ref") in enums:
        about = {key: value for key, value in field.items() if key in _ABOUT}
        allowed = {key: value for key, value in field.items() if key not in _ABOUT}
        return about | {"anyOf": [allowed, _VARIABLE]}
    result = dict(field)
    if "items" in field:
        result["items"] = _or_variable(field["items"], enums)
    if "anyOf" in field:
        result["anyOf"] = [*field["anyOf"], _VARIABLE]
    return result
