from benchmarks import cpu_budgets
from benchmarks.cpu_budgets import AHEAD_OF, LIMITS
from benchmarks.scenarios import SCENARIOS
from tests.benchmarks.examples import a_round


def test_budgets_are_of_scenarios_that_exist() -> None:
    assert LIMITS.keys() <= SCENARIOS.keys()


def test_a_budget_is_judged_by_the_median_of_the_ratios_within_rounds() -> None:
    found = []
    for number, ours in ((1, 9.0), (2, 10.0), (3, 30.0)):
        found += [a_round(number, "nginx", cpu_us=10.0), a_round(number, cpu_us=ours)]
    (verdict,) = cpu_budgets.judge(found)
    assert (verdict.other, verdict.limit, verdict.found.median) == ("nginx", 1.0, 1.0)
    assert verdict.is_kept


def test_peers_have_to_cost_more_in_every_scenario_and_nginx_only_where_it_was_promised() -> None:
    proxies = ("nginx", "bgproxy", "naive", *AHEAD_OF)
    found = [a_round(1, proxy, scenario="canary") for proxy in proxies]
    assert [verdict.other for verdict in cpu_budgets.judge(found)] == list(AHEAD_OF)


def test_nothing_is_said_about_what_was_not_measured() -> None:
    assert cpu_budgets.judge([a_round(1, "nginx")]) == []


def test_what_is_compiled_is_held_against_the_same_promises() -> None:
    found = [a_round(1, proxy) for proxy in ("nginx", "bgproxy", "bgproxy-compiled")]
    assert [verdict.ours for verdict in cpu_budgets.judge(found)] == ["bgproxy", "bgproxy-compiled"]
