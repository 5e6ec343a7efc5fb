from __future__ import annotations

from bgproxy.process.backoff import LONGEST_PAUSE_S, YOUNG_S, pause_s, young_deaths


def test_who_has_lived_long_is_replaced_at_once() -> None:
    assert young_deaths(5, YOUNG_S) == 0
    assert pause_s(0) == 0


def test_each_young_death_makes_the_pause_longer_up_to_a_bound() -> None:
    deaths = 0
    pauses = []
    for _ in range(20):
        deaths = young_deaths(deaths, YOUNG_S / 2)
        pauses.append(pause_s(deaths))
    assert pauses[0] > 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
