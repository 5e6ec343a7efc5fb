"""The single values that a setting can hold, as pydantic types: each with its check and its JSON Schema.

A check sees one value and nothing around it. Its message starts with the value's `repr` or does not
quote it at all, because the loader shows the text as it was written instead (see `load`).
"""

from __future__ import annotations

import ipaddress
import os
import re
import warnings
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

from bgproxy.config import files, quantities
from bgproxy.config.address import is_host_name, parse_address
from bgproxy.config.secrets import Secrets

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"

_NAME = re.compile(NAME_PATTERN)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_METHOD = re.compile(r"[A-Z]{1,32}")
_PATH = re.compile(r"/[!-\"$->@-~]*")  # visible ASCII without "?" and "#"
_TARGET = re.compile(r"/[!-\"$-~]*")  # the same with a query
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_JSON_PATH = re.compile(r"\$(\.[A-Za-z0-9_-]+|\[(\*|[0-9]{1,6})\])+")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
UNIX_PEERS = "unix"
_WORKERS = 32  # the shared memory has room for four times as many, for those that drain
_TEXT = {"type": "string"}


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


# --- numbers --------------------------------------------------------------------------------------------


def _whole_number(value: object) -> object:
    """Variables are filled in as text, so text that is a number counts as one."""
    return int(value) if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else value


def _boolean(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _workers(value: object) -> object:
    if value == "auto":
        return auto_workers()
    count = _whole_number(value)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _WORKERS:
        raise ValueError(
            f"{value!r} is not a number of workers: write auto, or a number from 1 to {_WORKERS}"
        )
    return count


def auto_workers() -> int:
    """One for each core."""
    return min(_cores(), _WORKERS)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


Integer = Annotated[int, BeforeValidator(_whole_number)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Workers = Annotated[
    int,
    BeforeValidator(_workers),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": _WORKERS}]}),
]

# --- durations and shares -------------------------------------------------------------------------------


def _number_text(value: object) -> object:
    """A bare number goes to the parser as text, which says that its unit is missing."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _duration(value: object) -> object:
    text = _number_text(value)
    return quantities.parse_duration(text) if isinstance(text, str) else value


def _positive(seconds: float) -> float:
    if seconds == 0:
        raise ValueError("has to be longer than 0s")
    return seconds


def _finite(seconds: float) -> float:
    if seconds == float("inf"):
        raise ValueError("cannot be never: write a duration such as 2s")
    return seconds


def _share(value: object) -> object:
    text = _number_text(value)
    return quantities.parse_percent(text) if isinstance(text, str) else value


_AS_DURATION = PlainSerializer(quantities.format_duration, when_used="json")
_DURATION_SCHEMA = _pattern(f"{quantities.DURATION_PATTERN}|{quantities.NEVER}")

Duration = Annotated[float, BeforeValidator(_duration), _AS_DURATION, _DURATION_SCHEMA]
Timeout = Annotated[
    float, BeforeValidator(_duration), AfterValidator(_positive), _AS_DURATION, _DURATION_SCHEMA
]
Interval = Annotated[
    float,
    BeforeValidator(_duration),
    AfterValidator(_positive),
    AfterValidator(_finite),
    _AS_DURATION,
    _pattern(quantities.DURATION_PATTERN),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    PlainSerializer(quantities.format_percent, when_used="json"),
    _pattern(quantities.PERCENT_PATTERN),
]


def _size(value: object) -> object:
    text = _number_text(value)
    return quantities.parse_size(text) if isinstance(text, str) else value


Size = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(quantities.format_size, when_used="json"),
    _pattern(quantities.SIZE_PATTERN),
]

# --- names and addresses --------------------------------------------------------------------------------


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a name: use 1 to 63 letters, digits, - and _, and start with a letter or digit"
        )
    return value


def _upstream_address(value: str) -> str:
    return str(parse_address(value))


def _bind_address(value: str) -> str:
    return str(parse_address(value, any_port=True))


def _exact_host(value: str) -> str:
    name = value.lower()
    if not is_host_name(name):
        raise ValueError(
            f"{value!r} is not a host name: write it without scheme, port and final dot, such as app.example.com"
        )
    return name


def _host(value: str) -> str:
    if value == "*":
        raise ValueError("'*' is not a host name: for any host leave `hosts` out, or write *.example.com")
    if value.startswith("*.") and is_host_name(value[2:].lower()):
        return value.lower()
    return _exact_host(value)


def _authority(value: str) -> str:
    """What a Host header carries: a host, and a port where it is not the usual one."""
    try:
        return _exact_host(value)
    except ValueError:
        try:
            return str(parse_address(value))
        except ValueError:
            raise ValueError(
                f"{value!r} is not a Host header: write a host name, or one with a port, such as app.example.com:8000"
            ) from None


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a path: start with / and leave out query, fragment and spaces (%20 for a space)"
        )
    return value


def _request_target(value: str) -> str:
    if not _TARGET.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a path: start with / and leave out fragment and spaces (%20 for a space)"
        )
    return value


def _network(value: str) -> str:
    if value == UNIX_PEERS:
        return value
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError(
            f"{value!r} is not a network: write an address or a network such as 10.0.0.0/8 or fd00::/8, or unix"
        ) from None


Name = Annotated[str, AfterValidator(_name), _pattern(NAME_PATTERN)]
Network = Annotated[str, AfterValidator(_network)]
UpstreamAddress = Annotated[str, AfterValidator(_upstream_address)]
BindAddress = Annotated[str, AfterValidator(_bind_address)]
ExactHost = Annotated[str, AfterValidator(_exact_host)]
Host = Annotated[str, AfterValidator(_host)]
Authority = Annotated[str, AfterValidator(_authority)]
Path = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
RequestTarget = Annotated[
    str, AfterValidator(_request_target), WithJsonSchema({"type": "string", "pattern": "^/"})
]

# --- what HTTP is made of -------------------------------------------------------------------------------


def _method(value: str) -> str:
    if not _METHOD.fullmatch(value):
        raise ValueError(f"{value!r} is not a method: write it in capitals, such as GET")
    return value


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a valid name here: use letters, digits and -, without spaces or colons"
        )
    return value


def _header_value(value: str) -> str:
    if any(character != "\t" and not character.isprintable() for character in value):
        raise ValueError("has a line break or a control character, which no header may carry: remove it")
    return value


def _statuses(value: object) -> object:
    found = _STATUS.fullmatch(str(value)) if isinstance(value, str | int) else None
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last:
        raise ValueError(
            f"{value!r} is not a status: write a number from 100 to 599 or a range such as 200-399"
        )
    return tuple(range(first, last + 1))


def _format_statuses(statuses: tuple[int, ...]) -> int | str:
    return statuses[0] if len(statuses) == 1 else f"{statuses[0]}-{statuses[-1]}"


def _regex(value: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python warns of today, it reads differently tomorrow
            re.compile(value)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return value


def _argument(value: str) -> str:
    if "\0" in value:
        raise ValueError("has a NUL character, which no argument may carry: remove it")
    return value


def _alpn_name(value: str) -> str:
    if not 1 <= len(value) <= 255 or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is not a protocol's name: write one such as http/1.1 or h2")
    return value


def _hash_key(value: str) -> str:
    kind, colon, name = value.partition(":")
    named = kind in ("header", "cookie") and _TOKEN.fullmatch(name)
    if not (named or (kind in ("source", "path") and not colon)):
        raise ValueError(f"{value!r} is not a key to hash on: write source, path, header:NAME or cookie:NAME")
    return value


def _json_path(value: str) -> str:
    if not _JSON_PATH.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a JSON path: write it from the root, such as $.time or $.items[*].id"
        )
    return value


Method = Annotated[str, AfterValidator(_method), _pattern(r"[A-Z]{1,32}")]
Token = Annotated[str, AfterValidator(_token)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Statuses = Annotated[
    tuple[int, ...],
    BeforeValidator(_statuses),
    PlainSerializer(_format_statuses, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 100, "maximum": 599},
                {"type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"},
            ]
        }
    ),
]
Regex = Annotated[str, AfterValidator(_regex), WithJsonSchema({"type": "string", "format": "regex"})]
Argument = Annotated[str, AfterValidator(_argument)]
AlpnName = Annotated[str, AfterValidator(_alpn_name)]
HashKey = Annotated[str, AfterValidator(_hash_key)]
JsonPath = Annotated[str, AfterValidator(_json_path)]

# --- files ----------------------------------------------------------------------------------------------


def _file_path(value: Any, info: ValidationInfo) -> object:
    return files.existing_file(_secrets(info).base, value) if isinstance(value, str) else value


def _page_file(value: Any, info: ValidationInfo) -> object:
    return files.page(_secrets(info).base, value) if isinstance(value, str) else value


FilePath = Annotated[str, BeforeValidator(_file_path), WithJsonSchema(_TEXT)]
PageFile = Annotated[str, BeforeValidator(_page_file), WithJsonSchema(_TEXT)]

# --- secrets --------------------------------------------------------------------------------------------


def _from_env(value: Any, info: ValidationInfo) -> object:
    return SecretStr(_secrets(info).from_env(value)) if isinstance(value, str) else value


def _from_file(value: Any, info: ValidationInfo) -> object:
    return SecretStr(_secrets(info).from_file(value)) if isinstance(value, str) else value


def _secrets(info: ValidationInfo) -> Secrets:
    if not isinstance(info.context, Secrets):
        raise TypeError("settings with secrets are validated with `context=Secrets(...)`")
    return info.context


SecretFromEnv = Annotated[SecretStr, BeforeValidator(_from_env), WithJsonSchema(_TEXT)]
SecretFromFile = Annotated[SecretStr, BeforeValidator(_from_file), WithJsonSchema(_TEXT)]
