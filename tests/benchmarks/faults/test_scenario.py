from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.faults.books import Books
from benchmarks.faults.scenario import ALL, NOTHING, POSTS, Perfect, Remark, Scenario, judge
from bgproxy.demo.ledger import Outcome
from tests.benchmarks.faults.examples import a_request, an_event, the_books

RESET = Scenario("reset", POSTS, frozenset({"502"}), fault="reset")


def failed(name: str, method: str) -> tuple[Any, Any]:
    return an_event("got", name, method), an_event("fault", name, method)


def test_a_post_that_the_upstream_had_read_may_be_lost() -> None:
    row = judge(RESET, the_books(a_request("1", "POST", status=502), a=failed("1", "POST")))
    assert (row["failures"], row["perfect"], row["avoidable"], row["wrong"]) == (1, 1, 0, [])


def test_a_get_that_the_upstream_had_read_may_not() -> None:
    row = judge(RESET, the_books(a_request("1", status=502), a=failed("1", "GET")))
    assert (row["failures"], row["perfect"], row["avoidable"]) == (1, 0, 1)
    assert row["wrong"] == ["1 failures that could have been avoided"]


def test_a_failure_is_not_excused_by_that_of_another_request() -> None:
    """As many have failed as could not be saved, but not the same ones."""
    books = the_books(a_request("1", "POST"), a_request("2", "POST", status=502), a=failed("1", "POST"), b=())
    row = judge(RESET, books)
    assert (row["failures"], row["perfect"], row["avoidable"]) == (1, 1, 1)


def test_what_a_race_excuses_is_a_number() -> None:
    race = Perfect("at most one", lambda _: set(), lambda _: 1)
    scenario = Scenario("race", race, frozenset({"502"}))
    first, second = a_request("1", "POST", status=502), a_request("2", "POST", status=502)
    assert judge(scenario, the_books(first))["wrong"] == []
    assert judge(scenario, the_books(first, second))["avoidable"] == 1


@pytest.mark.parametrize(
    ("books", "expected"),
    [
        (
            lambda: the_books(a_request("1", "POST", status=504), a=failed("1", "POST")),
            "failures of a kind that is not right: 504",
        ),
        (
            lambda: the_books(a_request("1", "POST", outcome=Outcome.WRONG_ID), a=failed("1", "POST")),
            "failures of a kind that is not right: foreign bytes",
        ),
        (
            lambda: the_books(
                a_request("1", "POST"), a=failed("1", "POST"), b=(an_event("got", "1", "POST"),)
            ),
            "1 POSTs done twice",
        ),
        (
            lambda: the_books(a_request("1"), a=(*failed("1", "GET"), *failed("1", "GET"))),
            "1 requests sent to the same upstream again",
        ),
        (
            lambda: the_books(a_request("1"), a=failed("2", "GET"), b=()),
            "1 requests answered that no upstream had",
        ),
        (
            lambda: the_books(a_request("1")),
            "the upstream has failed nothing: the row shows nothing",
        ),
        (
            lambda: the_books(a=failed("2", "GET"), b=()),
            "there were no requests",
        ),
    ],
)
def test_whatever_is_wrong_is_said(books: Callable[[], Books], expected: str) -> None:
    assert judge(RESET, books())["wrong"] == [expected]


def test_a_remark_that_is_not_right_is_wrong() -> None:
    scenario = Scenario("late", NOTHING, remark=lambda _: Remark("the slow one got all", is_right=False))
    row = judge(scenario, the_books(a_request("1")))
    assert row["wrong"] == [row["remark"]] == ["the slow one got all"]


def test_in_the_middle_of_an_answer_nothing_can_be_saved() -> None:
    scenario = Scenario("cut", ALL, frozenset({"aborted"}), fault="reset-in-body")
    cut = a_request("1", outcome=Outcome.TRUNCATED, status=0)
    row = judge(scenario, the_books(cut, a=failed("1", "GET")))
    assert (row["perfect"], row["kinds"], row["wrong"]) == (1, {"aborted": 1}, [])
