from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from bgproxy.cli.tables import configuration_json, configuration_table, history_table
from bgproxy.config.load import parse

from .examples import NOW

CONFIG = """
admin: {tokens: [{name: ci, role: operator, token_env: SECRET}]}
groups: {shop: [web]}
services:
  web:
    hosts: [app.example.com]
    pools: {blue: {version: v1, upstreams: ["127.0.0.1:1"]}, green: {}}
    health: {path: /up, interval: 5s}
"""
SECRET = "hunter2-hunter2-hunter2"


def shown(view: RenderableType) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=220, highlight=False).print(view)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_the_history_says_who_changed_what_when_why_and_with_what_result() -> None:
    entry: dict[str, Any] = {
        "id": 3,
        "time": NOW,
        "generation_from": 1,
        "generation_to": 2,
        "action": "switch",
        "services": ["web", "api"],
        "actor": "ci",
        "reason": "release 1.1",
        "from_pool": "blue",
        "to_pool": "green",
        "outcome": "done",
        "duration_ms": 1.8,
        "forced": True,
        "detail": "",
    }
    row = shown(history_table([entry]))[-1]
    assert row.startswith("3 2023-11-")
    assert row.endswith("1 → 2 switch web, api blue → green ci done forced 1.8 ms release 1.1")


def test_an_empty_history_says_so() -> None:
    assert shown(history_table([])) == ["nothing has been changed yet"]


def test_a_configuration_is_summed_up_without_its_secrets() -> None:
    config = parse(CONFIG, source="f", base=Path("/"), environ={"SECRET": SECRET})
    lines = shown(configuration_table(config))
    assert (
        "web app.example.com / blue blue v1 (1 upstream), green (0 upstreams) least_conn GET /up every 5s"
        in lines
    )
    assert "public 0.0.0.0:8080 active pools" in lines
    assert "admin API 127.0.0.1:9900, 1 token" in lines
    assert "group shop: web" in lines
    data = configuration_json(config)
    assert data["services"]["web"]["pools"]["blue"] == {"version": "v1", "upstreams": ["127.0.0.1:1"]}
    assert data["admin"] == {"bind": "127.0.0.1:9900", "tokens": ["ci"]}
    assert SECRET not in json.dumps(data) + "\n".join(lines)
