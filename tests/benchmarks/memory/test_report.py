from benchmarks.memory import report
from tests.benchmarks.memory.examples import a_result


def cells(text: str, beginning: str) -> list[str]:
    (row,) = (line for line in text.splitlines() if line.startswith(f"| {beginning}"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_every_figure_is_in_a_table() -> None:
    text = report.render(a_result())
    assert cells(text, "chunked") == ["25.0", "30.5", "4.0", "200 of 200"]
    assert cells(text, "plain, after a request") == ["10,000", "2", "2,600"]
    assert cells(text, "2,000") == ["100", "101", "1.01"]


def test_the_verdict_comes_at_the_end() -> None:
    assert report.render(a_result()).endswith("All promises are kept.\n")
    text = report.render(a_result(growth_mib=70, ratio=2))
    assert "All promises" not in text
    assert text.count("**Not kept: ") == 2


def test_it_says_where_when_and_how_it_was_made() -> None:
    text = report.render(a_result())
    for fact in (
        "Some CPU",
        "2026-01-02",
        "`python -m benchmarks.example`",
        "responses of 50 MiB",
        "for 10 s",
    ):
        assert fact in text
