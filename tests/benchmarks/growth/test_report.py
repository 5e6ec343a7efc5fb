from pathlib import Path

from benchmarks.growth import plot, report
from tests.benchmarks.growth.examples import a_point, a_result, steps

POINTS = [
    *steps("connections", (1, 12.0)),
    a_point(1, "connections", 10_000, cpu_us=15.0, workers=2),
    *steps("upstreams", (1, 10.0), (1000, 10.5)),
    *steps("workers", (1, 100.0), (2, 103.0)),
]


def cells(text: str, beginning: str) -> list[list[str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    return [row[1:] for row in rows if row[0] == beginning]


def test_every_step_has_its_figures() -> None:
    text = report.render(a_result(POINTS))
    assert cells(text, "1,000") == [
        ["1", "10.5 (10.5 to 10.5)", "1.05 (1.05 to 1.05)", "2.6", "10,000", "50.0"]
    ]
    assert cells(text, "10,000") == [
        ["2", "15.0 (15.0 to 15.0)", "1.25 (1.25 to 1.25)", "3.8", "10,000", "50.0"]
    ]


def test_memory_stands_beside_what_is_promised_of_it() -> None:
    text = report.render(a_result(POINTS))
    assert cells(text, "controller and one worker (with the supervisor)") == [["55.0 MiB", "60.0 MiB"]]
    assert cells(text, "of that, the controller") == [["30.0 MiB", ""]]
    assert cells(text, "of that, the worker") == [["15.0 MiB", ""]]
    assert cells(text, "each further worker") == [["15.0 MiB", "20.0 MiB"]]
    assert cells(text, "an idle connection (10,000 of them, 2 workers)") == [["2,600 bytes", "4,096 bytes"]]
    assert "the controller used 20.5% of a core in 10 s: 205 µs for a probe" in text


def test_the_verdict_comes_first() -> None:
    assert report.render(a_result(POINTS)).splitlines()[2] == "**All promises are kept.**"
    text = report.render(a_result(steps("services", (1, 10.0), (200, 12.0)), first_mib=70.0))
    assert "All promises" not in text
    assert text.count("**Not kept: ") == 2


def test_it_says_why_there_are_more_workers_for_many_connections() -> None:
    assert "From 10,000 on there are 2 workers" in report.render(a_result(POINTS))
    assert (
        "2 workers" not in report.render(a_result(steps("connections", (1, 12.0)))).partition("| memory")[0]
    )


def test_parts_that_were_not_measured_are_left_out() -> None:
    result = a_result([])
    for part in ("idle", "probing"):
        del result[part]
    text = report.render(result)
    assert "idle" not in text
    assert "each further worker" in text


def test_it_says_where_when_and_how_it_was_made() -> None:
    text = report.render(a_result(POINTS))
    for fact in ("Some CPU", "2026-01-02", "`python -m benchmarks.example`", "3 interleaved rounds of 2 s"):
        assert fact in text


def test_the_picture_is_drawn_from_the_stored_result(tmp_path: Path) -> None:
    path = tmp_path / "growth.png"
    assert plot.draw(a_result(POINTS), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_a_series_there_is_no_picture(tmp_path: Path) -> None:
    assert not plot.draw(a_result([]), tmp_path / "growth.png")
    assert not list(tmp_path.iterdir())
