from __future__ import annotations

from pathlib import Path

from bgproxy.config.reference import reference

PAGE = Path(__file__).parents[2] / "docs/reference/configuration.md"


def test_the_page_is_what_the_settings_say() -> None:
    """To renew it: `python -c 'from bgproxy.config.reference import reference; print(reference(), end="")'`."""
    assert PAGE.read_text() == reference()


def test_settings_within_lists_and_names_have_their_whole_path() -> None:
    page = reference()
    assert "| `services.<name>.pools.<name>.upstreams[].weight` | number, 0 to 1000 | `1` |" in page
    assert "| `admin.tokens[].role` | `viewer`, `operator`, `admin` | required |" in page
    assert "| `services.<name>.timeouts.total` | duration or `never` | `never` |" in page
    assert "| `services.<name>.sticky` | settings | none |" in page
