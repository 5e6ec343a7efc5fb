import pytest

from benchmarks import rounds
from tests.benchmarks.examples import a_round


def test_cost_and_throughput_come_from_completed_requests() -> None:
    measured = a_round(cpu_us=12.5, per_s=20_000)
    assert measured.cpu_us == pytest.approx(12.5)
    assert measured.requests_per_s == 20_000
    assert measured.busy_cores == pytest.approx(0.25)


def test_the_ratio_is_the_median_of_ratios_within_rounds_not_the_ratio_of_medians() -> None:
    """The machine is slower in every round, and bgproxy always takes half."""
    found = [a_round(number, "nginx", cpu_us=10.0 * number) for number in (1, 2, 3)]
    found += [a_round(number, cpu_us=5.0 * number) for number in (3, 1, 2)]
    _, ours = rounds.compare(found)
    assert ours["cpu_ratio"] == pytest.approx({"median": 0.5, "low": 0.5, "high": 0.5})
    assert ours["cpu_us"] == pytest.approx({"median": 10.0, "low": 5.0, "high": 15.0})


def test_scenarios_do_not_mix() -> None:
    found = [
        a_round(proxy=proxy, scenario=scenario, cpu_us=cpu_us)
        for proxy, scenario, cpu_us in (
            ("nginx", "small", 10.0),
            ("bgproxy", "small", 8.0),
            ("nginx", "large", 40.0),
            ("bgproxy", "large", 20.0),
        )
    ]
    found_ratios = {
        (each["scenario"], each["proxy"]): each["cpu_ratio"]["median"] for each in rounds.compare(found)
    }
    assert found_ratios == pytest.approx(
        {
            ("small", "nginx"): 1.0,
            ("small", "bgproxy"): 0.8,
            ("large", "nginx"): 1.0,
            ("large", "bgproxy"): 0.5,
        }
    )


def test_failures_of_all_rounds_are_kept() -> None:
    found = [a_round(1, "nginx"), a_round(1, failures=2), a_round(2, "nginx"), a_round(2, failures=3)]
    assert [each["failures"] for each in rounds.compare(found)] == [0, 5]


def test_two_workers_that_cost_no_more_for_a_request_are_bound_by_their_cores_alone() -> None:
    found = [a_round(1, per_s=10_000), a_round(1, workers=2, per_s=13_000)]
    _, two = rounds.scale(found)
    assert two["cpu_bound"]["median"] == pytest.approx(2.0)
    assert two["throughput_ratio"]["median"] == pytest.approx(1.3)
    assert two["balance"]["median"] == 1.0


def test_what_workers_cost_each_other_is_taken_from_what_they_bring() -> None:
    found = [a_round(1, cpu_us=10.0), a_round(1, workers=2, cpu_us=12.5)]
    _, two = rounds.scale(found)
    assert two["cpu_bound"]["median"] == pytest.approx(1.6)


def test_latency_and_memory_are_summed_up_beside_the_cost() -> None:
    (ours,) = rounds.compare([a_round()])
    assert ours["p50_ms"]["median"] == pytest.approx(1.0)
    assert ours["p99_ms"]["median"] == pytest.approx(4.0)
    assert ours["pss_mib"]["median"] == pytest.approx(30.0)
    assert ours["worker_cpu_us"]["median"] == pytest.approx(10.0)


def test_without_nginx_in_the_run_there_are_figures_but_no_ratios() -> None:
    (ours,) = rounds.compare([a_round()])
    assert "cpu_ratio" not in ours
    assert ours["cpu_us"]["median"] == pytest.approx(10.0)
