from __future__ import annotations

from pathlib import Path

from bgproxy.admin_api.reference import reference

from .server import DOCUMENT

PAGE = Path(__file__).parents[2] / "docs/reference/admin-api.md"


def test_the_page_is_what_the_document_says() -> None:
    """To renew it: `python -c 'from bgproxy.admin_api.reference import reference; print(reference(), end="")'`."""
    assert PAGE.read_text() == reference()


def test_every_call_and_every_member_is_on_the_page() -> None:
    lines = PAGE.read_text().splitlines()
    for path, methods in DOCUMENT["paths"].items():
        for method in methods:
            assert f"### {method.upper()} {path}" in lines
    for name, schema in DOCUMENT["components"]["schemas"].items():
        section = lines[lines.index(f"### {name}") :]
        for member in schema.get("properties", {}):
            assert any(line.startswith(f"| `{member}` |") for line in section)
