from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.health.thresholds import CheckResult, HealthState, observe, unknown
from bgproxy.model import Health, HealthCheck

GOOD = CheckResult(ok=True, reason="status 200", duration_s=0.001)
BAD = CheckResult(ok=False, reason="connection refused", duration_s=0.001)

checks = st.builds(HealthCheck, healthy_after=st.integers(1, 5), unhealthy_after=st.integers(1, 5))
histories = st.lists(st.booleans(), min_size=1, max_size=40)


def run(history: list[bool], check: HealthCheck) -> list[HealthState]:
    """The state before any result, then the one after each; result number n comes at time n."""
    states = [unknown(0.0)]
    for now, ok in enumerate(history, start=1):
        states.append(observe(states[-1], GOOD if ok else BAD, check, float(now)))
    return states


def in_a_row(history: list[bool]) -> int:
    return sum(1 for _ in takewhile(lambda ok: ok == history[-1], reversed(history)))


def test_the_first_success_makes_an_unknown_upstream_healthy() -> None:
    state = observe(unknown(1.0), GOOD, HealthCheck(healthy_after=5), 2.0)
    assert state == HealthState(Health.HEALTHY, since=2.0, successes=1, failures=0, reason="status 200")


def test_the_first_failure_makes_an_unknown_upstream_unhealthy() -> None:
    state = observe(unknown(1.0), BAD, HealthCheck(unhealthy_after=5), 2.0)
    assert state == HealthState(
        Health.UNHEALTHY, since=2.0, successes=0, failures=1, reason="connection refused"
    )


def test_a_failure_below_the_threshold_gives_its_reason_but_changes_nothing() -> None:
    healthy = HealthState(Health.HEALTHY, since=1.0, successes=9)
    state = observe(healthy, BAD, HealthCheck(unhealthy_after=2), 5.0)
    assert state == HealthState(Health.HEALTHY, since=1.0, failures=1, reason="connection refused")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (HealthState(Health.HEALTHY, 1.0, successes=1, reason="status 200"), "status 200"),
        (HealthState(Health.HEALTHY, 1.0, failures=1, reason="refused"), "last check failed: refused"),
        (HealthState(Health.UNHEALTHY, 1.0, failures=1, reason="refused"), "refused"),
        (
            HealthState(Health.UNHEALTHY, 1.0, successes=1, reason="status 200"),
            "last check passed: status 200",
        ),
        (HealthState(Health.HEALTHY, 1.0, reason="as known"), "as known"),
    ],
)
def test_a_last_check_that_speaks_against_the_verdict_is_told_as_such(state: HealthState, said: str) -> None:
    assert state.explanation == said


@given(histories, checks)
def test_only_a_whole_row_of_results_changes_a_known_verdict_and_it_always_does(
    history: list[bool], check: HealthCheck
) -> None:
    states = run(history, check)
    for n in range(2, len(states)):
        before, after = states[n - 1].health, states[n].health
        row, ok = in_a_row(history[:n]), history[n - 1]
        if ok and row >= check.healthy_after:
            assert after is Health.HEALTHY
        elif not ok and row >= check.unhealthy_after:
            assert after is Health.UNHEALTHY
        else:
            assert after is before


@given(histories, checks)
def test_the_counts_are_the_length_of_the_last_row(history: list[bool], check: HealthCheck) -> None:
    last = run(history, check)[-1]
    row = in_a_row(history)
    assert (last.successes, last.failures) == ((row, 0) if history[-1] else (0, row))


@given(histories, checks)
def test_since_is_the_time_of_the_last_change(history: list[bool], check: HealthCheck) -> None:
    states = run(history, check)
    changes = [n for n in range(1, len(states)) if states[n].health is not states[n - 1].health]
    assert states[-1].since == float(changes[-1])
