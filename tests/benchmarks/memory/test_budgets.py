import pytest

from benchmarks.memory import budgets
from tests.benchmarks.memory.examples import a_result


def test_a_result_within_all_budgets_breaks_no_promise() -> None:
    assert budgets.broken(a_result()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"growth_mib": 64.1}, "chunked: 64.1 MiB is more than 64"),
        ({"whole": 199}, "chunked: 1 of 200 transfers failed: Broken: HTTP/1.1 502 Bad Gateway"),
        ({"idle_bytes": 4097}, "an idle connection costs 4,097 bytes, more than 4,096"),
        (
            {"left_bytes": 27_000},
            "with TLS, a connection that has ended leaves 27,000 bytes, more than 1,024",
        ),
        ({"ratio": 1.6}, "among 2,000 idle connections, a request takes 1.60 times as long"),
    ],
)
def test_every_promise_that_is_broken_is_named(changes: dict[str, float], said: str) -> None:
    assert budgets.broken(a_result(**changes)) == [said]  # type: ignore[arg-type] # each as it should be


def test_nothing_is_promised_of_an_idle_connection_with_tls() -> None:
    assert budgets.broken(a_result(idle_bytes=50_000, tls=True)) == []
