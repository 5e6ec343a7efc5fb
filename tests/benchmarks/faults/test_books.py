import pytest

from benchmarks.faults.books import Event, kind
from bgproxy.demo.ledger import Outcome
from tests.benchmarks.faults.examples import a_request, an_event, the_books


def test_an_event_is_read_as_it_was_written() -> None:
    assert Event.from_line("fault POST 7 12.250000") == Event("fault", "POST", "7", 12.25)


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        (Outcome.ANSWERED, 502, "502"),
        (Outcome.RESET, 0, "aborted"),
        (Outcome.TRUNCATED, 0, "aborted"),
        (Outcome.WRONG_ID, 200, "foreign bytes"),
        (Outcome.MALFORMED, 0, "foreign bytes"),
        (Outcome.WRONG_BODY, 200, "wrong body"),
        (Outcome.UNANSWERED, 0, "unanswered"),
    ],
)
def test_every_failure_has_a_kind(outcome: Outcome, status: int, expected: str) -> None:
    assert kind(a_request("1", outcome=outcome, status=status)) == expected


def test_only_answers_that_are_wrong_are_failures() -> None:
    books = the_books(a_request("1"), a_request("2", status=502))
    assert books.failures() == {"2": "502"}


def test_a_post_that_two_upstreams_have_read_was_done_twice() -> None:
    got = an_event("got", "1", "POST")
    books = the_books(a_request("1", "POST"), a=(got,), b=(got,))
    assert books.done_twice() == 1
    assert books.repeated_there() == 0


def test_a_get_may_come_to_two_upstreams_but_not_twice_to_one() -> None:
    got = an_event("got", "1")
    books = the_books(a_request("1"), a=(got, got), b=(got,))
    assert books.done_twice() == 0
    assert books.repeated_there() == 1


def test_an_answer_that_no_upstream_gave_is_found() -> None:
    assert the_books(a_request("1"), b=()).never_done() == 1
    assert the_books(a_request("1", status=503), b=()).never_done() == 0


def test_what_is_under_way_is_counted_for_each_upstream() -> None:
    books = the_books(
        a=(an_event("got", "1"), an_event("got", "2"), an_event("done", "1"), an_event("got", "3")),
        b=(an_event("got", "4"), an_event("done", "4"), an_event("got", "5")),
    )
    assert books.peak() == 2
    assert books.unanswered("a") == {"2", "3"}
    assert books.share("a") == pytest.approx(3 / 5)


def test_what_overlaps_two_moments_is_between_them() -> None:
    books = the_books(
        a_request("before", started=9.0, ended=10.4),
        a_request("across", started=10.0, ended=10.6),
        a_request("inside", started=11.0, ended=11.5),
        a_request("after", started=12.1, ended=12.2),
    )
    assert books.between("killed", "back") == {"across", "inside"}
