from hypothesis import given
from hypothesis import strategies as st

from bgproxy.health.schedule import FIRST_CHECKS_WITHIN_S, first_delay_s, next_start

intervals = st.floats(0.01, 3600.0)
draws = st.floats(0.0, 1.0, exclude_max=True)


def test_a_single_new_target_is_checked_at_once() -> None:
    assert first_delay_s(0, 1, 2.0) == 0.0


@given(st.integers(1, 5000), intervals)
def test_first_checks_are_evenly_spread_within_a_second_and_within_the_interval(
    count: int, interval_s: float
) -> None:
    delays = [first_delay_s(index, count, interval_s) for index in (0, count // 2, count - 1)]
    assert delays == sorted(delays)
    assert delays[-1] < min(interval_s, FIRST_CHECKS_WITHIN_S)


def test_thousands_of_first_checks_are_spread_over_the_whole_second() -> None:
    assert first_delay_s(1500, 3000, 2.0) == 0.5


def test_a_few_new_targets_do_not_wait_for_a_second() -> None:
    assert first_delay_s(9, 10, 2.0) < 0.05


@given(st.floats(0.0, 1e6), intervals, draws)
def test_the_interval_runs_from_start_to_start_within_ten_percent(
    started: float, interval_s: float, draw: float
) -> None:
    after_s = next_start(started, interval_s, draw, now=started) - started
    assert 0.9 * interval_s - 1e-6 <= after_s <= 1.1 * interval_s + 1e-6


def test_the_jitter_uses_its_whole_range() -> None:
    assert next_start(100.0, 10.0, 0.0, now=100.0) == 109.0
    assert next_start(100.0, 10.0, 0.5, now=100.0) == 110.0


def test_a_check_longer_than_its_interval_is_followed_at_once() -> None:
    assert next_start(100.0, 2.0, 0.5, now=105.0) == 105.0
