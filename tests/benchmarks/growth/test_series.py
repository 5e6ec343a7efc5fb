import pytest

from benchmarks.growth import series
from benchmarks.growth.series import SERIES
from benchmarks.growth.upstream import ADDRESSES
from tests.benchmarks.growth.examples import a_point


def test_a_step_is_compared_with_the_first_one_of_its_own_round() -> None:
    """The machine is slower in every round, and a thousand upstreams always cost a fifth more."""
    found = [
        a_point(number, value=value, cpu_us=10.0 * number * factor)
        for number in (1, 2, 3)
        for value, factor in ((1, 1.0), (1000, 1.2))
    ]
    # Every other round runs the other way round: the order says nothing.
    one, thousand = series.summarise(found[::-1])
    assert (one["value"], thousand["value"]) == (1, 1000)
    assert thousand["ratio"] == pytest.approx({"median": 1.2, "low": 1.2, "high": 1.2})
    assert thousand["cpu_us"] == pytest.approx({"median": 24.0, "low": 12.0, "high": 36.0})
    assert one["ratio"]["median"] == 1.0


def test_series_do_not_mix() -> None:
    found = [a_point(name="services", value=1, cpu_us=40.0), a_point(value=1, cpu_us=10.0)]
    assert [(row["series"], row["ratio"]["median"]) for row in series.summarise(found)] == [
        ("services", 1.0),
        ("upstreams", 1.0),
    ]


def test_failures_of_all_rounds_are_kept() -> None:
    (row,) = series.summarise([a_point(1, failures=2), a_point(2, failures=3)])
    assert row["failures"] == 5


def test_the_series_are_those_that_are_promised_something_of_or_asked_for() -> None:
    assert {name: [step.value for step in each.steps] for name, each in SERIES.items()} == {
        "connections": [1, 64, 1000, 10_000],
        "upstreams": [1, 10, 100, 1000],
        "services": [1, 20, 200],
        "body": [0, 1024, 16_384, 65_536, 262_144, 1_048_576],
        "workers": [1, 2],
    }


def test_there_are_addresses_enough_and_scenarios_have_files_of_their_own() -> None:
    steps = [step for each in SERIES.values() for step in each.steps]
    assert max(step.size.upstreams * step.size.services for step in steps) <= ADDRESSES
    with_script = [step.scenario for step in steps if step.scenario.script]
    assert len({each.name for each in with_script}) == len({each.script for each in with_script})


def test_every_service_is_asked_by_its_name_and_has_its_turn() -> None:
    assert all(step.value <= series.TURNS for step in SERIES["services"].steps)
    assert '{"s000.bench.test", "s001.bench.test"}' in series.hosts_script(2)
