from benchmarks import cpu_report
from tests.benchmarks.examples import a_result, a_round

PAIRS = [
    a_round(number, proxy, cpu_us=cpu_us)
    for number, proxy, cpu_us in (
        (1, "nginx", 10.0),
        (1, "bgproxy", 9.0),
        (2, "nginx", 12.0),
        (2, "bgproxy", 9.6),
        (3, "nginx", 11.0),
        (3, "bgproxy", 11.0),
    )
]


def cells(report: str, beginning: str) -> list[list[str]]:
    """The rows of all tables that begin so, without their first cell."""
    rows = [line for line in report.splitlines() if line.startswith(f"| {beginning}")]
    return [[cell.strip() for cell in row.strip("|").split("|")][1:] for row in rows]


def test_the_first_table_has_a_row_for_each_scenario_and_a_column_for_each_proxy() -> None:
    found = [
        *PAIRS,
        *(a_round(number, "envoy", cpu_us=22.0) for number in (1, 2, 3)),
        a_round(1, "nginx", cpu_us=40.0, scenario="canary"),
        a_round(1, cpu_us=44.0, scenario="canary"),
    ]
    report = cpu_report.render(a_result(found))
    assert cells(report, "scenario")[0] == ["nginx, µs", "bgproxy", "envoy"]
    assert cells(report, "small GET, kept-alive")[0] == ["11.0", "0.90", "2.00"]
    assert cells(report, "small GET, a canary")[0] == ["40.0", "1.10", "-"]


def test_the_details_have_spreads_latency_and_memory() -> None:
    report = cpu_report.render(a_result(PAIRS))
    (ours,) = cells(report, "bgproxy ")
    assert ours == [
        "9.6 (9.0 to 11.0)",
        "9.6",
        "0.90 (0.80 to 1.00)",
        "10,000 (10,000 to 10,000)",
        "1.00",
        "4.00",
        "30.0",
        "0",
    ]


def test_a_budget_is_reached_or_missed_by_so_much() -> None:
    found = [
        a_round(1, proxy, cpu_us=cpu_us, scenario=scenario)
        for proxy, cpu_us, scenario in (
            ("nginx", 10.0, "post"),
            ("bgproxy", 11.3, "post"),
            ("haproxy", 10.0, "post"),
            ("nginx", 60.0, "large"),
            ("bgproxy", 30.0, "large"),
            ("haproxy", 33.0, "large"),
        )
    ]
    found += [a_round(number, "nginx", scenario="post") for number in (2, 3)]
    found += [a_round(number, cpu_us=11.3 * number, scenario="post") for number in (2, 3)]
    report = cpu_report.render(a_result(found))
    verdicts = [row[-1] for row in cells(report, "") if row[0].startswith("≤")]
    assert verdicts == ["missed by 1.3", "reached"]
    assert "bgproxy: ahead of haproxy in 1 of 2 scenarios: missed in post (1.13 of its CPU)." in report
    assert "envoy" not in report


def test_who_is_left_out_is_told_with_why() -> None:
    left_out = {"naive": {"canary": "it knows one upstream", "sticky": "it knows one upstream"}}
    report = cpu_report.render({**a_result(PAIRS), "left_out": left_out})
    assert "- naive is not in canary and sticky: it knows one upstream." in report


def test_the_report_says_where_when_and_how_it_was_made() -> None:
    report = cpu_report.render(a_result(PAIRS))
    for fact in ("Some CPU", "2026-01-02", "nginx 1.22.1", "`python -m benchmarks.example`", "of 2 s each"):
        assert fact in report
    assert "wrk none" not in report


def test_a_clean_run_has_no_warning_and_failures_have_one() -> None:
    assert "**" not in cpu_report.render(a_result(PAIRS))
    report = cpu_report.render(a_result([*PAIRS, a_round(4, "nginx"), a_round(4, failures=7)]))
    assert "**7 of 80,000 requests of bgproxy failed in small" in report
    assert "(failures)" in report


def test_a_noisy_machine_is_told() -> None:
    report = cpu_report.render(a_result([*PAIRS, a_round(4, "nginx", others=0.31), a_round(4)]))
    assert "up to 31% of the proxies' core" in report


def test_workers_have_a_report_of_their_own() -> None:
    report = cpu_report.render(a_result([a_round(), a_round(workers=2, per_s=15_000)], kind="workers"))
    (row,) = (line for line in report.splitlines() if line.startswith("| bgproxy |       2 |"))
    assert [cell.strip() for cell in row.strip("|").split("|")][2:] == [
        "15,000 (15,000 to 15,000)",
        "1.50 (1.50 to 1.50)",
        "10.0 (10.0 to 10.0)",
        "2.00",
        "0.15",
        "100%",
    ]


def test_tables_are_aligned() -> None:
    assert cpu_report.table(["name", "n"], [["a", "1"], ["long name", "1,000"]]) == [
        "| name      |     n |",
        "| --------- | ----: |",
        "| a         |     1 |",
        "| long name | 1,000 |",
    ]
