import pytest

from benchmarks.cutover import facts
from benchmarks.cutover.play import Books
from bgproxy.demo.ledger import Outcome
from tests.benchmarks.cutover.examples import TO_BLUE, TO_GREEN, a_request, some_books


def test_a_run_without_a_loss_says_so() -> None:
    found = facts.of(some_books())
    assert (found["requests"], found["posts"]) == (1500, 1500)
    assert [found[key] for key in ("errors", "stale", "posts_done_twice", "answered_not_done")] == [
        0,
        0,
        0,
        0,
    ]
    assert found["acknowledged_ms"]["p50"] == pytest.approx(4.0)
    assert found["beyond_own_sync_ms"]["max"] == pytest.approx(3.0)
    assert found["commit_ms"] == {"count": 1, "p50": 3.0, "p90": 3.0, "max": 3.0}
    assert found["empty_call_ms"]["p50"] == 1.0
    assert found["cpu_ms"] == 2.1


def test_a_request_that_starts_after_the_acknowledgement_and_gets_the_old_side_is_stale() -> None:
    found = facts.of(some_books(a_request("late", 105.1, 50.0, "v1")))
    assert found["stale"] == 1
    assert found["switches"][0]["last_old_ms"] == pytest.approx(150.0)
    assert found["switches"][1]["last_old_ms"] == 0


def test_failures_have_kinds() -> None:
    found = facts.of(
        some_books(
            a_request("cut", 106.0, 1.0, "", outcome=Outcome.RESET, status=0),
            a_request("bad", 106.0, 1.0, "v2", status=502),
        )
    )
    assert found["error_kinds"] == {"reset": 1, "answered 502": 1}


def test_an_old_answer_belongs_to_the_newest_switch_before_it() -> None:
    """The new side of one switch is the old side of the next, of which a long request may know nothing."""
    crossing = a_request("crossing", 109.99, 30.0, "v2")
    onwards = a_request("onwards", 109.99, 30.0, "v1")
    assert facts.last_old_s([crossing, onwards], [TO_GREEN, TO_BLUE]) == [0.0, pytest.approx(0.02)]


def test_what_is_slow_on_purpose_and_what_failed_have_no_say_in_the_last_old_answer() -> None:
    slow = a_request("slow", 104.95, 100.0, "v1", path="/slow")
    failed = a_request("failed", 104.95, 100.0, "v1", status=502)
    assert facts.last_old_s([slow, failed], [TO_GREEN]) == [0.0]


def test_the_profile_puts_all_switches_on_top_of_each_other() -> None:
    bins = facts.profile(
        some_books(a_request("cut", 105.1, 1.0, "", status=0)).ledger.requests, [TO_GREEN, TO_BLUE]
    )
    by_start = {each["from_ms"]: each for each in bins}
    assert (by_start[-10]["old"], by_start[-10]["new"]) == (2, 0)
    assert (by_start[0]["old"], by_start[0]["new"]) == (0, 2)
    assert by_start[100]["failed"] == 1
    assert by_start[0]["p99_ms"] == pytest.approx(1.0)


def test_without_anything_measured_there_are_no_figures() -> None:
    found = facts.of(Books())
    assert found["latency_ms"]["noise"] == [None, None]
    assert found["last_old_ms"]["p50"] is None
