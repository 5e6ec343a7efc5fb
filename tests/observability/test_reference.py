from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bgproxy.observability import metrics
from bgproxy.observability.reference import ONE_OF_EACH, reference

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"


def test_the_page_is_what_the_series_say() -> None:
    """To renew it: `python -c 'from bgproxy.observability.reference import reference; print(reference(), end="")'`."""
    assert PAGE.read_text() == reference()


def test_every_series_of_a_scrape_is_on_the_page_with_its_labels() -> None:
    rows = {
        name: row
        for row in PAGE.read_text().splitlines()
        if row.startswith("| `")
        for name in row.split("|")[1].strip().split("<br>")
    }
    text = metrics.render(lambda: ONE_OF_EACH).decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert {f"`{each.name}`" for each in samples} == set(rows)
    for each in samples:
        for label in each.labels:
            assert f"`{label}`" in rows[f"`{each.name}`"].split("|")[3]
