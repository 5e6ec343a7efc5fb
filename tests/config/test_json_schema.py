from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bgproxy.config.json_schema import json_schema, plain_schema

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
POOLS = "pools: {blue: {}, green: {}}"


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, settings in [("File", schema), *schema["$defs"].items()]:
        for key, field in settings.get("properties", {}).items():
            yield f"{name}.{key}", field


def test_it_is_a_valid_schema_and_plain_json() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema(), allow_nan=False)) == json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_accepts_each_example(path: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "services: {}",
        "services: {web: {pools: {blue: {}}}}",
        f"services: {{web: {{{POOLS}, colour: red}}}}",
        f"services: {{web: {{{POOLS}, health: {{interval: 5}}}}}}",
        f"services: {{web: {{{POOLS}, health: {{interval: never}}}}}}",
        f"services: {{web: {{{POOLS}, sticky: {{}}}}}}",
        f"services: {{web: {{{POOLS}, balance: luck}}}}",
        f"services: {{'a b': {{{POOLS}}}}}",
    ],
)
def test_it_refuses_what_an_editor_can_know_to_be_wrong(text: str) -> None:
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


def test_a_variable_may_stand_for_any_value() -> None:
    text = f"""
    workers: ${{W}}
    services: {{web: {{{POOLS}, balance: "${{B}}", paths: ["${{P}}"], health: {{interval: "${{I}}", healthy_after: "${{N}}"}}}}}}
    """
    VALIDATOR.validate(yaml.safe_load(text))


def test_every_setting_says_what_it_means() -> None:
    assert [
        name for name, field in fields(plain_schema()) if not field.get("description", "").endswith(".")
    ] == []


def test_defaults_are_written_as_a_file_would_have_them() -> None:
    defaults = {name: field["default"] for name, field in fields(plain_schema()) if "default" in field}
    assert defaults["Timeouts.idle"] == "1m"
    assert defaults["Timeouts.total"] == "never"
    assert defaults["Retries.budget"] == "20%"
    assert defaults["Health.expect_status"] == [200]


def test_every_default_is_valid_itself() -> None:
    schema = json_schema()
    for name, field in fields(schema):
        if "default" in field:
            validator = jsonschema.Draft202012Validator({**field, "$defs": schema["$defs"]})
            assert validator.is_valid(field["default"]), name
