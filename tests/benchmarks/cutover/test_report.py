import json

from benchmarks.cutover import report
from bgproxy.demo.ledger import Outcome
from tests.benchmarks.cutover.examples import a_request, a_result


def test_a_stored_result_makes_the_same_report() -> None:
    result = a_result()
    stored = json.loads(json.dumps(result, allow_nan=False))
    assert report.render(stored) == report.render(result)
    assert "**bgproxy: nothing lost, nothing stale.**" in report.render(result)


def test_every_loss_is_in_the_verdict_and_in_the_table() -> None:
    text = report.render(
        a_result(
            a_request("late", 105.1, 50.0, "v1"),
            a_request("cut", 106.0, 1.0, "", outcome=Outcome.RESET, status=0),
        )
    )
    assert "**bgproxy: 1 failed, 1 stale.**" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| bgproxy 0.1.0")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "bgproxy 0.1.0",
        "1,502",
        "1",
        "1 reset",
        "1",
        "0",
    ]


def test_a_long_run_is_held_against_the_budget_and_has_files_of_its_own() -> None:
    result = a_result(requests=1500)
    assert (report.name(a_result()), report.name(result)) == ("cutover", "cutover-long")
    text = report.render(result)
    assert "**Not kept or not shown: requests; switches; " in text
    assert "(cutover-long.png)" in text


def test_a_proxy_alone_has_nothing_of_bgproxy_in_its_report() -> None:
    result = a_result()
    result["proxies"] = {"nginx": result["proxies"]["bgproxy"]}
    text = report.render(result)
    assert "**nginx: nothing lost, nothing stale.**" in text
    assert "bgproxy's switch" not in text
