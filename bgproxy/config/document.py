"""YAML text to plain data that knows where each value was written, with its variables filled in.

Owns what YAML means here: one document, text as keys, the types of YAML 1.2's core schema (so `no`
and `2024-01-01` are text), no tags, and bounds on depth and size that aliases cannot escape.
Variables are filled in after parsing, so that no value can add structure. Knows no key by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from bgproxy.errors import Problem

Location = tuple[str | int, ...]

SOURCE_BYTES = 1024 * 1024
TOO_LARGE = f"is larger than {SOURCE_BYTES} bytes: a configuration is not"

_DEPTH = 32
_VALUES = 100_000  # after aliases are followed
_EXPANDED_CHARACTERS = SOURCE_BYTES

_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True)
class Document:
    """`as_written` has the values that had variables in them, before anything was filled in."""

    data: object = None
    lines: dict[Location, int] = field(default_factory=dict)
    as_written: dict[Location, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unreadable: bool = False  # there is no data to look at, only problems

    def line(self, location: Location) -> int | None:
        """The line of the value at `location`, or of the nearest thing around it that was written."""
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return None


def read(text: str, environ: Mapping[str, str]) -> Document:
    """Never raises: what is wrong is in `problems`. After a syntax error there is no data."""
    if len(text.encode("utf-8", "replace")) > SOURCE_BYTES:
        return Document(problems=[Problem("", TOO_LARGE)], unreadable=True)
    try:
        root = _compose(text)
    except _TooMuch as error:
        return Document(problems=[Problem("", str(error), error.line)], unreadable=True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        return Document(
            problems=[Problem("", f"is not YAML: {said}", mark.line + 1 if mark else None)], unreadable=True
        )
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
        # The last three escape from PyYAML's scanner on escapes such as "\UFFFFFFFF".
        return Document(problems=[Problem("", f"is not YAML: {_first_line(error)}")], unreadable=True)
    reader = _Reader(environ)
    try:
        if root is not None:
            reader.document.data = reader.value(root, ())
    except _TooMuch as error:
        return Document(problems=[Problem("", str(error), error.line)], unreadable=True)
    return reader.document


def dotted(location: Location) -> str:
    """`services.web.pools.blue.upstreams[1]`, which is how errors name a place."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else ascii(part)
            path += f".{name}" if path else name
    return path


# Private


class _TooMuch(Exception):
    def __init__(self, message: str, node: yaml.Node | None = None) -> None:
        super().__init__(message)
        self.line = None if node is None else node.start_mark.line + 1


class _Loader(yaml.SafeLoader):
    """Composes nodes only; bounds their depth because PyYAML recurses, their number because it is slow."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's
    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > _VALUES:
            raise _TooMuch(f"has more than {_VALUES} values: no configuration needs that many", parent)
        self.depth += 1
        if self.depth > _DEPTH:
            raise _TooMuch(f"is nested deeper than {_DEPTH} levels: no setting is that deep", parent)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.document = Document()
        self._environ = environ
        self._values = 0
        self._expanded_characters = 0

    def value(self, node: yaml.Node, location: Location, line: int | None = None) -> object:
        self._values += 1
        if self._values > _VALUES:
            raise _TooMuch(f"has more than {_VALUES} values once its aliases are followed", node)
        if len(location) > _DEPTH:  # an alias inside of what it stands for
            raise _TooMuch(f"is nested deeper than {_DEPTH} levels once its aliases are followed", node)
        self.document.lines[location] = line or node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*location, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, location)
        self._report(location, f"has the tag {node.tag!a}: remove it, tags mean nothing here", node)
        return None

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, object]:
        result: dict[str, object] = {}
        for key, (key_node, value_node) in self._entries(node, location, 0).items():
            result[key] = self.value(value_node, (*location, key), key_node.start_mark.line + 1)
        return result

    def _entries(
        self, node: yaml.MappingNode, location: Location, depth: int
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key to nodes. What `<<` brings in comes first, so that it takes the lower rank."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(location, "has a key that is not text: write `key: value`", key_node)
                continue
            key = key_node.value
            if key == _MERGE and key_node.style is None:
                merged |= self._merged(value_node, location, depth)
            elif key in own:
                first = own[key][0].start_mark.line + 1
                self._report((*location, key), f"is written twice, first on line {first}: keep one", key_node)
            else:
                own[key] = (key_node, value_node)
        return merged | own

    def _merged(
        self, node: yaml.Node, location: Location, depth: int
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        self._values += 1
        if depth > _DEPTH or self._values > _VALUES:
            raise _TooMuch("has too many `<<` inside of each other", node)
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for source in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                self._values += len(source.value)
                merged |= self._entries(source, location, depth + 1)
            else:
                self._report(location, "`<<` takes a mapping or a list of mappings, such as *name", source)
        return merged

    def _scalar(self, node: yaml.ScalarNode, location: Location) -> object:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return self._filled_in(text, location, node)
            case "null":
                return None
            case "bool" if text.lower() in {"true", "false"}:
                return text.lower() == "true"
            case "int" | "float" as kind:
                try:
                    return int(text) if kind == "int" else float(text)
                except ValueError:
                    pass  # `!!int abc`, or more digits than Python reads: reported like any odd tag
        self._report(location, f"is not a value of the type {node.tag!a}: put it in quotes", node)
        return None

    def _filled_in(self, text: str, location: Location, node: yaml.Node) -> str:
        """`${NAME}` and `${NAME:-default}`; `$${` stands for `${`. An empty variable takes the default too."""
        if "${" not in text:
            return text
        self.document.as_written[location] = text

        def fill(found: re.Match[str]) -> str:
            name, default = found.groups()
            if found[0] == "$${":
                return "${"
            if name is None:
                self._report(
                    location,
                    "has a `${` that starts no variable: write ${NAME}, ${NAME:-default}, or $${",
                    node,
                )
                return ""
            value = self._environ.get(name)
            if value is None and default is None:
                self._report(
                    location,
                    f"needs the environment variable {name}: set it, or write ${{{name}:-default}}",
                    node,
                )
            filled = (value or default or "") if default is not None else (value or "")
            self._expanded_characters += len(filled)
            if self._expanded_characters > _EXPANDED_CHARACTERS:
                raise _TooMuch(
                    f"has variables that fill in more than {_EXPANDED_CHARACTERS} characters", node
                )
            return filled

        return _VARIABLE.sub(fill, text)

    def _report(self, location: Location, message: str, node: yaml.Node) -> None:
        self.document.problems.append(Problem(dotted(location), message, node.start_mark.line + 1))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
