"""A configuration file to `model.Config`, or one `ConfigError` with everything that is wrong with it.

Owns the order of the checks and the words of the errors. Shows a value only as the file has it, never
with its variables filled in: they may hold secrets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bgproxy.config import certificates, document, relations, schema
from bgproxy.config.build import build
from bgproxy.config.document import SOURCE_BYTES, Document, Location
from bgproxy.config.secrets import Secrets
from bgproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from bgproxy.model import Config

_QUOTED_CHARACTERS = 80


def load(path: Path | str) -> Config:
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(SOURCE_BYTES + 1)
        text = content.decode("utf-8") if len(content) <= SOURCE_BYTES else None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem("", "is not UTF-8 text: save it as UTF-8", line)], source) from None
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], source) from None
    if text is None:
        raise ConfigError([Problem("", document.TOO_LARGE)], source)
    return parse(text, source=source, base=Path(path).absolute().parent)


def parse(text: str, *, source: str, base: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """`source` names the text in errors; `base` is the folder that relative paths start from."""
    read = document.read(text, environ)
    if read.unreadable:
        raise ConfigError(read.problems, source)
    data = {} if read.data is None else read.data
    found: dict[Location, str] = {}
    file = None
    try:
        file = schema.File.model_validate(data, context=Secrets(environ, base))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            location = _location(details, data)
            found.setdefault(location, _message(details, location))
    for location, message in relations.check(data):
        found.setdefault(location, message)
    if file is not None:
        for location, message in certificates.check(file):
            found.setdefault(location, message)
    reported = {problem.path for problem in read.problems}
    problems = [
        *read.problems,
        *(
            Problem(document.dotted(location), _as_written(message, location, read), read.line(location))
            for location, message in found.items()
            if document.dotted(location) not in reported
        ),
    ]
    if file is None or problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0), source)
    return build(file, base)


# Private


def _location(details: ErrorDetails, data: Any) -> Location:
    """pydantic's `loc` without what it adds to the file's own keys; a missing key stays at its end."""
    location: list[str | int] = []
    for part in details["loc"]:
        if not _has(data, part):
            if details["type"] == "missing":
                location.append(part)
            break
        data = data[part]
        location.append(part)
    return tuple(location)


def _message(details: ErrorDetails, location: Location) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            known = list(schema.settings_at(location[:-1]).model_fields)
            return f"unknown key; {relations.did_you_mean(str(location[-1]), known)}"
        case "missing":
            meaning = schema.settings_at(location[:-1]).model_fields[str(location[-1])].description
            return f"is missing, and has no default. {meaning}"
        case "enum" | "literal_error":
            return f"has to be {context['expected']}"
        case "string_type":
            return "has to be text: put it in quotes" if _is_scalar(details["input"]) else "has to be text"
        case "string_unicode":
            return "has characters that are not Unicode: remove them"
        case "int_type" | "int_from_float":
            return "has to be a whole number"
        case "bool_type":
            return "has to be true or false"
        case "float_type":
            return "has to be a number with a unit, such as 2s, or a percentage such as 20%"
        case "dict_type" | "model_type":
            return "has to be a mapping, with one `key: value` in each line"
        case "list_type":
            return "has to be a list, such as [a, b]"
        case "greater_than_equal":
            return f"has to be at least {context['ge']}"
        case "less_than_equal":
            return f"has to be at most {context['le']}"
        case "too_short":
            return f"has too few entries: {len(details['input'])} instead of {context['min_length']}"
        case "too_long":
            return f"has too many entries: {len(details['input'])} instead of {context['max_length']}"
        case "string_too_short":
            return "is empty: write a value, or remove the key"
    return details["msg"]


def _is_scalar(value: object) -> bool:
    return isinstance(value, int | float)


def _as_written(message: str, location: Location, read: Document) -> str:
    """Replaces the value at the message's start by what the file has there, shortened."""
    value = _value_at(read.data, location)
    quoted = repr(value)
    if value is None or not message.startswith(quoted):
        return message
    written = read.as_written.get(location)
    shown = quoted if written is None else repr(written)
    if len(shown) > _QUOTED_CHARACTERS:
        shown = f"{shown[:_QUOTED_CHARACTERS]}…'"
    return shown + message[len(quoted) :]


def _value_at(data: Any, location: Location) -> Any:
    for part in location:
        if not _has(data, part):
            return None
        data = data[part]
    return data


def _has(data: object, part: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data
