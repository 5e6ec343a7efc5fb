import pytest

from benchmarks.growth import budgets
from tests.benchmarks.growth.examples import a_result, steps

FLAT = steps("upstreams", (1, 10.0), (1000, 10.9)) + steps("services", (1, 10.0), (200, 10.0))


def test_a_result_within_all_budgets_breaks_no_promise() -> None:
    assert budgets.broken(a_result(FLAT)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first_mib": 60.5}, "controller and a worker hold 60.5 MiB, more than 60"),
        ({"further_mib": 20.5}, "a further worker holds 20.5 MiB, more than 20"),
        ({"idle_bytes": 4097.0}, "an idle connection costs 4,097 bytes, more than 4,096"),
    ],
)
def test_every_promise_of_memory_that_is_broken_is_named(changes: dict[str, float], said: str) -> None:
    assert budgets.broken(a_result(FLAT, **changes)) == [said]


def test_upstreams_and_services_that_make_a_request_dearer_are_named() -> None:
    dearer = steps("upstreams", (1, 10.0), (1000, 11.1)) + steps("services", (1, 10.0), (200, 15.0))
    assert budgets.broken(a_result(dearer)) == [
        "with 1,000 upstreams, a request costs 1.11 times as much, more than 1.10",
        "with 200 services, a request costs 1.50 times as much, more than 1.10",
    ]


def test_a_larger_body_may_cost_more() -> None:
    assert budgets.broken(a_result(steps("body", (0, 10.0), (65_536, 30.0)))) == []


def test_a_request_that_failed_breaks_a_promise_in_any_series() -> None:
    failed = steps("body", (0, 10.0), failures=3)
    assert budgets.broken(a_result(failed)) == ["3 requests failed with body = 0"]


def test_of_what_was_not_measured_nothing_is_said() -> None:
    result = a_result(FLAT)
    for part in ("processes", "idle", "probing"):
        del result[part]
    assert budgets.broken(result) == []
