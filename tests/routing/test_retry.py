from __future__ import annotations

from bgproxy.model import Retries
from bgproxy.routing.retry import BURST, SAVED_REQUESTS, RetryBudget


def spent(budget: RetryBudget, attempts: int = 1000) -> int:
    return sum(budget.spend() for _ in range(attempts))


def test_a_burst_of_retries_is_possible_from_the_start_and_no_more() -> None:
    assert spent(RetryBudget(Retries(budget=0.2))) == BURST


def test_requests_pay_for_retries_with_their_share() -> None:
    budget = RetryBudget(Retries(budget=0.25))
    spent(budget)
    budget.requests += 3
    assert not budget.spend()
    budget.requests += 1
    assert budget.spend()
    assert not budget.spend()
    budget.requests += 20
    assert spent(budget) == 5


def test_a_quiet_time_saves_up_the_share_of_the_last_requests_and_no_more() -> None:
    budget = RetryBudget(Retries(budget=0.2))
    budget.requests += 1_000_000
    assert spent(budget) == BURST + 0.2 * SAVED_REQUESTS


def test_in_an_outage_retries_stay_a_share_of_the_requests() -> None:
    """Every request fails and asks for as many retries as it can get."""
    budget = RetryBudget(Retries(budget=0.2))
    retries = 0
    for _ in range(1000):
        budget.requests += 1
        retries += spent(budget, attempts=3)
    assert 200 <= retries <= 200 + BURST


def test_without_a_share_there_is_the_burst_alone() -> None:
    budget = RetryBudget(Retries(budget=0.0))
    budget.requests += 1000
    assert spent(budget) == BURST
    budget.requests += 1000
    assert not budget.spend()
