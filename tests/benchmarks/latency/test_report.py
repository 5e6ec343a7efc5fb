from pathlib import Path

from benchmarks.latency import plot, report
from tests.benchmarks.latency.examples import a_result, rounds


def cells(text: str, *beginning: str) -> list[list[str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    return [row[len(beginning) :] for row in rows if row[: len(beginning)] == list(beginning)]


def test_every_table_has_its_figures() -> None:
    text = report.render(a_result(rounds(290.0, 300.0, 320.0)))
    added, beyond, absolute = (row for row in cells(text, "50%") if "bgproxy" in row)
    assert added == ["10,000", "bgproxy", "0 (0 to 0)", "150 (140 to 170)", "0 (0 to 0)"]
    assert beyond == ["bgproxy", "0 (0 to 0)", "50 (40 to 70)", "0 (0 to 0)"]
    assert absolute == ["bgproxy", "100", "300", "100", "100", "100", "100", "60%"]
    assert len(cells(text, "75%")) == 2 + 1 + 3  # no proxy adds nothing to itself, nginx nothing to nginx


def test_the_verdict_comes_first() -> None:
    kept = report.render(a_result(rounds(290.0, 300.0, 320.0))).splitlines()[2]
    assert kept.startswith(
        "**Kept: at half of what nginx can do, bgproxy's added p99 is +0.05 ms from nginx's"
    )
    assert report.render(a_result(rounds(900.0, 900.0, 900.0))).splitlines()[2].startswith("**Not kept: ")


def test_what_cannot_be_told_is_not_called_kept() -> None:
    text = report.render(a_result(rounds(300.0, 300.0, 300.0, load_core=0.97)))
    assert text.splitlines()[2].startswith("**Cannot tell: ")
    assert "Not resolved:" in text
    assert "- 50%, bgproxy: the core of load and backend was up to 97% busy" in text


def test_it_says_where_when_and_how_it_was_made() -> None:
    text = report.render(a_result(rounds(300.0, 300.0, 300.0)))
    for fact in (
        "Some CPU",
        "2026-01-02",
        "`python -m benchmarks.example`",
        "the 20,000 requests/s",
        "3 interleaved",
    ):
        assert fact in text


def test_the_picture_is_drawn_from_the_stored_result(tmp_path: Path) -> None:
    plot.draw(a_result(rounds(300.0, 310.0, 290.0)), tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
