from __future__ import annotations

import pytest

from bgproxy.admin_api import throttle
from bgproxy.admin_api.throttle import Throttle, TooManyCalls

ME, OTHER = b"\x7f\0\0\1", b"\x0a\0\0\1"


def calls(buckets: Throttle, number: int, now: float, *, per_s: float = 5.0, client: bytes = ME) -> int:
    """How many of so many calls at one moment are admitted."""
    admitted = 0
    for _ in range(number):
        try:
            buckets.admit(client, per_s, now)
        except TooManyCalls:
            continue
        admitted += 1
    return admitted


def test_twice_the_limit_at_once_and_then_the_limit_in_each_second() -> None:
    buckets = Throttle()
    assert calls(buckets, 100, 1000.0) == 10
    assert [calls(buckets, 100, 1000.0 + second) for second in (1, 2, 3)] == [5, 5, 5]
    assert calls(buckets, 100, 1060.0) == 10


def test_calls_within_the_limit_are_never_refused() -> None:
    buckets = Throttle()
    for number in range(1000):
        buckets.admit(ME, 5.0, number * 0.2)


def test_the_refusal_says_when_to_come_back_and_then_there_is_a_token() -> None:
    buckets = Throttle()
    assert calls(buckets, 3, 0.0, per_s=1.0) == 2
    with pytest.raises(TooManyCalls, match=r"1 calls a second.*admin\.requests_per_second") as refused:
        buckets.admit(ME, 1.0, 0.5)
    assert refused.value.extra == {"retry_after": 1}
    buckets.admit(ME, 1.0, 1.0)


def test_a_refused_call_costs_nothing() -> None:
    buckets = Throttle()
    calls(buckets, 10_000, 0.0)
    buckets.admit(ME, 5.0, 0.2)


def test_a_failure_costs_as_much_as_ten_calls() -> None:
    buckets = Throttle()
    guesses = 0
    for tenth in range(100):  # ten seconds of guessing
        try:
            buckets.admit(ME, 5.0, tenth / 10)
        except TooManyCalls:
            continue
        buckets.punish(ME, 5.0, tenth / 10)
        guesses += 1
    assert guesses == 6  # the first bucket is one, and then one in two seconds


def test_who_has_failed_can_be_sure_to_wait_and_is_told_how_long() -> None:
    buckets = Throttle()
    buckets.admit(ME, 1.0, 0.0)
    buckets.punish(ME, 1.0, 0.0)
    with pytest.raises(TooManyCalls) as refused:
        buckets.admit(ME, 1.0, 0.0)
    assert refused.value.extra == {"retry_after": 9}
    assert calls(buckets, 1, 8.9, per_s=1.0) == 0
    assert calls(buckets, 1, 9.0, per_s=1.0) == 1


def test_clients_have_nothing_to_do_with_each_other() -> None:
    buckets = Throttle()
    calls(buckets, 100, 0.0)
    assert calls(buckets, 100, 0.0, client=OTHER) == 10


def test_another_limit_counts_from_the_next_call() -> None:
    buckets = Throttle()
    assert calls(buckets, 100, 0.0, per_s=50.0) == 100
    assert calls(buckets, 100, 1.0, per_s=5.0) == 5
    buckets = Throttle()
    calls(buckets, 1, 0.0, per_s=50.0)
    assert calls(buckets, 100, 0.0, per_s=5.0) == 10


def test_the_table_is_bounded_and_forgets_who_called_least_recently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "CLIENTS", 3)
    buckets = Throttle()
    assert calls(buckets, 10, 0.0, client=OTHER) == 10
    calls(buckets, 10, 0.0)
    for number in range(1000):
        calls(buckets, 1, 0.0, client=b"%d" % number)
        assert calls(buckets, 1, 0.0) == 0  # who goes on calling is not forgotten
    assert len(buckets) == 3
    assert calls(buckets, 10, 0.0, client=OTHER) == 10
