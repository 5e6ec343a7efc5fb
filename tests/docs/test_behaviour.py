"""The page of promises says the numbers, the statuses and the headers that the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bgproxy import model
from bgproxy.config.quantities import parse_duration, parse_percent, parse_size
from bgproxy.http1 import fields as http_fields
from bgproxy.http1 import limits as http_limits
from bgproxy.http1.fields import Fields, request_fields, response_fields
from bgproxy.http1.responses import PHRASES
from bgproxy.proxy import limits as proxy_limits
from bgproxy.proxy import portions, preamble, proxy_protocol, secured, tunnel
from bgproxy.routing import retry
from tests.docs.tables import EXPLANATION, quoted, rows, section

PAGE = (EXPLANATION / "behaviour.md").read_text()
SOURCE = Path(model.__file__).parent

# Where settings are, and what has their defaults.
DEFAULTS: dict[str, object] = {
    "listeners[].limits": model.HeadLimits(),
    "services.<name>.timeouts": model.Timeouts(),
    "services.<name>.limits": model.Limits(),
    "services.<name>.retries": model.Retries(),
    "services.<name>.keepalive": model.Keepalive(),
    "services.<name>.outlier": model.Outlier(),
    "services.<name>.mirror": model.Mirror(share=1.0),
}
# And those whose name is another one, or that stand alone.
ALONE: dict[str, object] = {
    "listeners[].limits.connections": model.Listener("", "").connections,
    "listeners[].limits.connections_per_client": model.Listener("", "").connections_per_client,
    "services.<name>.drain.timeout": model.Service("", {}, "").drain_timeout_s,
    "services.<name>.slow_start": model.Policy().slow_start_s,
}
NO_LIMIT = {
    "services.<name>.mirror.share": "has no default",
    "services.<name>.mirror.headers": "is no number",
    "services.<name>.mirror.ignore_json": "is no number",
    "services.<name>.retries.idempotency_key": "is no number",
}
# All bounds of the first two are on the page, of the others those that are named.
WHOLE = (http_limits, proxy_limits)
PARTLY = (preamble, portions, proxy_protocol, tunnel, retry, secured)


def settings() -> dict[str, object]:
    """Every setting that is a bound, as the configuration calls it, with its default."""
    found = {
        f"{prefix}.{re.sub('_(s|bytes)$', '', field.name)}": getattr(group, field.name)
        for prefix, group in DEFAULTS.items()
        for field in fields(group)  # type: ignore[arg-type]
    }
    return {name: value for name, value in (found | ALONE).items() if name not in NO_LIMIT}


def constants(*modules: ModuleType) -> dict[str, object]:
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and name != "KIB" and isinstance(value, int | float)
    }


def bounds() -> dict[str, str]:
    """Those of the page: each name with its default, as text."""
    tables = rows(section(PAGE, "## Limits")) + rows(section(PAGE, "## Timeouts"))
    return {quoted(name)[0]: default.strip("`") for _, default, name, _ in tables}


def parse(text: str) -> object:
    if text == "none":
        return None
    for reader in (int, parse_percent, parse_duration, parse_size):
        try:
            return reader(text)
        except ValueError:
            continue
    raise AssertionError(f"{text!r} is no number, size, duration or share")


@pytest.mark.parametrize(("name", "default"), bounds().items())
def test_every_bound_has_the_default_of_the_code(name: str, default: str) -> None:
    known = settings() | constants(*WHOLE, *PARTLY)
    assert name in known, "there is no such setting, or no such name in the code"
    assert parse(default) == known[name]


def test_every_bound_of_the_code_is_on_the_page() -> None:
    assert sorted((settings() | constants(*WHOLE)).keys() - bounds().keys()) == []


# --- statuses --------------------------------------------------------------------------------------


def statuses_in(source: str) -> set[int]:
    """What looks like a status for a client: an argument of a call, or the first value of a row of answers."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        arguments: list[ast.expr] = []
        if isinstance(node, ast.Call):
            arguments = node.args
        elif isinstance(node, ast.Tuple):
            arguments = node.elts[:1]
        for each in arguments:
            if isinstance(each, ast.Constant) and isinstance(each.value, int) and 400 <= each.value < 600:
                found.add(each.value)
    return found


def test_every_status_that_is_answered_has_a_row_and_every_row_is_answered() -> None:
    paths = [path for package in ("http1", "proxy") for path in sorted((SOURCE / package).glob("*.py"))]
    answered = set().union(*(statuses_in(path.read_text()) for path in paths))
    told = {int(row[0]) for row in rows(section(PAGE, "## What is refused, and with which status"))}
    assert told == answered
    assert told <= PHRASES.keys()


def test_a_status_in_the_code_is_seen() -> None:
    assert statuses_in("raise ProxyError(418, 'x')") == {418}
    assert statuses_in("ANSWERS = {RESET: (502, 'x', 'y')}") == {502}
    assert statuses_in("count = f(1000) + 404") == set()


# --- headers ---------------------------------------------------------------------------------------


def headers_of(heading: str) -> dict[str, str]:
    """Each header of the table by its name in lower case, with what happens to it."""
    table = rows(section(PAGE, heading))
    return {name.lower(): row[1] for row in table for name in quoted(row[0]) if " " not in name}


REQUEST = headers_of("## Request headers")
RESPONSE = headers_of("## Response headers")


def words_of(search: Callable[..., Any]) -> set[str]:
    """All that the first group of a pattern matches, in lower case."""
    pattern = search.__self__.pattern.decode()  # type: ignore[attr-defined]
    depth, end = 1, pattern.index("(") + 1
    while depth:
        depth += {"(": 1, ")": -1}.get(pattern[end], 0)
        end += 1
    return set(_alternatives(pattern[pattern.index("(") + 1 : end - 1]))


def _alternatives(pattern: str) -> Iterator[str]:
    """Of a pattern with nothing but letters, groups without a number and sets of single characters."""
    depth, parts = 0, [""]
    for character in pattern:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += character
    if len(parts) > 1:
        for part in parts:
            yield from _alternatives(part)
        return
    pieces: list[list[str]] = []
    rest = pattern
    while rest:
        if rest.startswith("(?:"):
            depth, end = 1, 3
            while depth:
                depth += {"(": 1, ")": -1}.get(rest[end], 0)
                end += 1
            pieces.append(list(_alternatives(rest[3 : end - 1])))
            rest = rest[end:]
        elif rest.startswith("["):
            end = rest.index("]")
            pieces.append(list(rest[1:end]))
            rest = rest[end + 1 :]
        else:
            pieces.append([rest[0]])
            rest = rest[1:]
    yield from ("".join(word) for word in product(*pieces))


@cache
def special(pattern: str) -> frozenset[str]:
    return frozenset(words_of(getattr(http_fields, pattern)))


def test_every_header_that_is_looked_at_is_in_its_table() -> None:
    # An underscore in one place is in the table, other mixtures of dashes and underscores are not worth a word.
    requests = {name for name in special("_REQUEST_SPECIAL") if not ("-" in name and "_" in name)}
    assert sorted(requests - REQUEST.keys()) == []
    assert sorted(special("_RESPONSE_SPECIAL") - RESPONSE.keys()) == []


def test_every_header_that_is_written_is_in_a_table() -> None:
    """Those that are added to a request, to a response or to an answer of our own."""
    written = set()
    for name in (
        "http1/forwarding.py",
        "http1/head.py",
        "http1/responses.py",
        "http1/rewrite.py",
        "proxy/shadows.py",
    ):
        for node in ast.walk(ast.parse((SOURCE / name).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                written.update(re.findall(r"(?:^|\r\n)([A-Za-z][A-Za-z-]+): ", text))
    assert {"Via", "Date", "Set-Cookie", "Retry-After", "X-Bgproxy-Mirror"} <= written
    refused = quoted(section(PAGE, "## What is refused, and with which status"))
    answers = {text.partition(":")[0] for text in refused}
    missing = {each for each in written if each.lower() not in REQUEST.keys() | RESPONSE.keys()}
    assert sorted(missing - answers) == []


def forwards(name: str) -> bytes:
    value = "100-continue" if name == "expect" else "chunked" if name == "transfer-encoding" else "1"
    host = "" if name == "host" else "Host: a\r\n"
    return passed_on(request_fields(f"{host}{name}: {value}\r\n".encode()), name)


def passed_on(parsed: Fields, name: str) -> bytes:
    """The lines of that name that go on as they came."""
    lines = parsed.forward.split(b"\r\n")
    return b"\n".join(line for line in lines if line.lower().startswith(name.encode() + b":"))


@pytest.mark.parametrize(("name", "fate"), REQUEST.items())
def test_a_request_header_is_kept_or_not_as_the_table_says(name: str, fate: str) -> None:
    word = re.match(r"\w+", fate)
    assert word is not None
    assert word[0] in {"kept", "removed", "replaced"}
    # An id is read, and written again with the others that are told to upstreams.
    assert bool(forwards(name)) == (word[0] == "kept" and name != "x-request-id")


@pytest.mark.parametrize(("name", "fate"), RESPONSE.items())
def test_a_response_header_is_kept_or_not_as_the_table_says(name: str, fate: str) -> None:
    if name == "headers.pool":
        return
    value = "chunked" if name == "transfer-encoding" else "1"
    parsed = response_fields(f"{name}: {value}\r\n".encode())
    assert bool(passed_on(parsed, name)) == fate.startswith("kept")
    if "removed from 1xx and 204" in fate:
        bodiless = response_fields(f"{name}: {value}\r\n".encode(), bodiless=True)
        assert passed_on(bodiless, name) == b""


# --- retries ---------------------------------------------------------------------------------------


def test_the_methods_that_may_be_repeated_are_those_of_the_code() -> None:
    head = next(line for line in section(PAGE, "## Retries").splitlines() if line.startswith("| failure"))
    told = {method.strip().encode() for method in head.strip("|").split("|")[1].split(",")}
    assert told == retry.IDEMPOTENT
