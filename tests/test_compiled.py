"""Which build the tests have before them: the sources, or with BGPROXY_COMPILE=1 a compiled package."""

from __future__ import annotations

import importlib
import os
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HOOK = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["hooks"]["custom"]


@pytest.mark.parametrize("module", HOOK["modules"])
def test_what_is_listed_is_compiled_if_and_only_if_it_was_asked_for(module: str) -> None:
    name = module.removesuffix(".py").replace("/", ".")
    file = str(importlib.import_module(name).__file__)
    assert file.endswith(tuple(EXTENSION_SUFFIXES)) == (os.environ.get("BGPROXY_COMPILE") == "1"), file
