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


def test_a_row_has_both_proxies_their_spreads_and_the_ratio() -> None:
    report = cpu_report.render(a_result(PAIRS))
    (row,) = (line for line in report.splitlines() if line.startswith("| small GET, kept-alive"))
    cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
    assert cells == [
        "11.0 (10.0 to 12.0)",
        "9.6 (9.0 to 11.0)",
        "0.90 (0.80 to 1.00)",
        "10,000",
        "10,000",
        "1.00",
    ]


def test_the_report_says_where_when_and_how_it_was_made() -> None:
    report = cpu_report.render(a_result(PAIRS))
    for fact in ("Some CPU", "2026-01-02", "nginx 1.22.1", "`python -m benchmarks.example`", "of 2 s each"):
        assert fact in report
    assert "wrk none" not in report


def test_a_clean_run_has_no_warning_and_failures_have_one() -> None:
    assert "**" not in cpu_report.render(a_result(PAIRS))
    report = cpu_report.render(a_result([*PAIRS, a_round(4, "nginx"), a_round(4, failures=7)]))
    assert "**7 requests of bgproxy failed" in report


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
