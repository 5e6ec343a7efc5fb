import json

from benchmarks.faults import report
from benchmarks.faults.matrix import MATRIX
from benchmarks.faults.scenario import judge
from tests.benchmarks.examples import CIRCUMSTANCES
from tests.benchmarks.faults.examples import a_request, an_event, the_books

ROWS = {each.name: each for each in MATRIX}
SETTINGS = {"clients": 200, "requests": 4000, "workers": 2, "upstreams": 3}


def a_result() -> report.Json:
    """One row that is passed, and one in which a GET is lost."""
    events = (an_event("got", "1"), an_event("fault", "1"))
    lost = the_books(a_request("1", status=502), a_request("2"), a=events)
    rows = [
        judge(ROWS["refused"], the_books(a_request("1"))),
        judge(ROWS["reset before the answer"], lost),
    ]
    return {**CIRCUMSTANCES, "settings": SETTINGS, "rows": rows}


def test_what_was_lost_is_said_at_the_top_and_at_the_end() -> None:
    text = report.render(a_result())
    assert "**1 of 2 rows passed: 3 requests, 1 avoidable failures**" in text
    assert "- reset before the answer: 1 failures that could have been avoided" in text


def test_every_row_is_in_the_table_with_its_verdict() -> None:
    cells = {
        parts[0]: parts[1:]
        for line in report.render(a_result()).splitlines()
        if len(parts := [part.strip() for part in line.strip("|").split("|")]) == 11
    }
    assert cells["refused"] == ["1", "1", "0", "0", "0", "none", "0", "0", "0", "passed"]
    assert cells["reset before the answer"] == ["2", "1", "1", "0", "1", "1 502", "0", "0", "0", "FAILED"]


def test_a_tolerance_is_shown_beside_what_is_exact() -> None:
    books = the_books(*(a_request(str(number), "POST") for number in range(1000)))
    row = judge(ROWS["closes after 1 to 5 ms idle"], books)
    assert "perfect    0+1" in report.line(row)


def test_a_result_is_json_that_makes_the_same_report() -> None:
    stored = json.loads(json.dumps(a_result(), allow_nan=False))
    assert report.render(stored) == report.render(a_result())
