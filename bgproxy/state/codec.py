"""Frozen dataclasses to JSON text and back, without losing or inventing anything.

Owns the one text form in which state is kept. Decoding is strict: an unknown field, a missing one or a
wrong type is an error that names the field. A missing field that has a default takes it, so that a newer
bgproxy reads what an older one wrote. It must never guess, convert or repair.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import inf, isfinite
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import orjson

from bgproxy.errors import Invalid, StateError

T = TypeVar("T")

NEVER = "inf"  # JSON has no infinity


def encode(value: object) -> str:
    """Raises `Invalid` for what JSON cannot hold: NaN, integers over 64 bits, lone surrogates."""
    try:
        return orjson.dumps(_plain(value)).decode()
    except orjson.JSONEncodeError as error:
        raise Invalid(f"{type(value).__name__} cannot be stored as JSON: {error}.") from error


def decode(kind: type[T], text: str | bytes, where: str) -> T:
    """Raises `StateError`; `where` says for a person which text this is."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StateError(f"{where} is not JSON: {error}.") from error
    try:
        result: T = _read(kind, document, "")
    except _Mismatch as error:
        raise StateError(f"{where}: {error}.") from error
    return result


# Private


class _Mismatch(Exception):
    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path.removeprefix('.') or 'the document'} {message}")


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(kind):
        return {name: _plain(getattr(value, name)) for name in _names(kind)}
    if isinstance(value, float) and not isfinite(value):
        if value == inf:
            return NEVER
        raise Invalid(f"{value} is not a number that can be stored.")
    return value


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _shape(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """The type of every field, and the fields that have no default."""
    hints = get_type_hints(kind)
    named = fields(kind)
    required = (f.name for f in named if f.default is MISSING and f.default_factory is MISSING)
    return {f.name: hints[f.name] for f in named}, frozenset(required)


def _read(kind: Any, value: Any, path: str) -> Any:
    if is_dataclass(kind):
        return _read_fields(kind, value, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType and arguments[1:] == (NoneType,):
        return None if value is None else _read(arguments[0], value, path)
    if origin is dict:
        _require(isinstance(value, dict), "an object", value, path)
        return {key: _read(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if origin is tuple and arguments[1:] == (Ellipsis,):
        _require(isinstance(value, list), "a list", value, path)
        return tuple(_read(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if kind is float:
        if value == NEVER:
            return inf
        _require(type(value) in (int, float), "a number", value, path)
        return float(value)
    if kind in (str, int, bool):
        _require(type(value) is kind, f"of type {kind.__name__}", value, path)
        return value
    raise TypeError(f"codec.py does not know how to read {kind}, the type of {path}")


def _read_fields(kind: Any, value: Any, path: str) -> Any:
    _require(isinstance(value, dict), "an object", value, path)
    types, required = _shape(kind)
    for name in value:
        if name not in types:
            raise _Mismatch(f"{path}.{name}", f"is not a field of {kind.__name__} in this version of bgproxy")
    for name in sorted(required):
        if name not in value:
            raise _Mismatch(f"{path}.{name}", "is missing")
    return kind(**{name: _read(types[name], item, f"{path}.{name}") for name, item in value.items()})


def _require(holds: bool, expected: str, value: object, path: str) -> None:  # noqa: FBT001 - an assertion
    if not holds:
        raise _Mismatch(path, f"has to be {expected}, but is {type(value).__name__} ({value!r:.40})")
