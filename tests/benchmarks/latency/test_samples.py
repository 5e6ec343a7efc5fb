import pytest

from benchmarks.latency import samples
from benchmarks.latency.samples import DIRECT, OURS, REFERENCE, Verdict
from tests.benchmarks.latency.examples import a_sample, rounds


def test_what_is_added_is_taken_within_rounds_not_from_medians() -> None:
    """The machine is slower in every round, and bgproxy always adds 50 µs."""
    found = [
        a_sample(number, target, p99_us=100.0 * number + added)
        for number in (1, 2, 3)
        for target, added in ((DIRECT, 0.0), (REFERENCE, 80.0), (OURS, 50.0))
    ]
    ours = next(row for row in samples.summarise(found) if row["target"] == OURS)
    assert ours["added_us"]["p99"] == pytest.approx({"median": 50.0, "low": 50.0, "high": 50.0})
    assert ours["beyond_nginx_us"]["p99"]["median"] == pytest.approx(-30.0)
    assert ours["latency_us"]["p99"] == pytest.approx({"median": 250.0, "low": 150.0, "high": 350.0})


@pytest.mark.parametrize(
    ("ours_us", "verdict"),
    [
        ((440.0, 450.0, 460.0), Verdict.KEPT),
        ((451.0, 451.0, 451.0), Verdict.BROKEN),
        ((100.0, 110.0, 90.0), Verdict.KEPT),
    ],
)
def test_the_promise_is_no_more_than_two_tenths_of_a_millisecond_above_nginx(
    ours_us: tuple[float, ...], verdict: Verdict
) -> None:
    assert samples.verdict(samples.summarise(rounds(*ours_us))) is verdict


def test_only_the_rate_of_the_promise_counts_for_it() -> None:
    found = [each for each in rounds(300.0, 300.0, 300.0) if each.share == 0.5]
    found += [each for each in rounds(9000.0, 9000.0, 9000.0) if each.share != 0.5]
    assert samples.verdict(samples.summarise(found)) is Verdict.KEPT


def test_rounds_that_differ_by_more_than_the_promise_prove_nothing() -> None:
    """However good their median is."""
    assert samples.verdict(samples.summarise(rounds(250.0, 10.0, 500.0))) is Verdict.OPEN


def test_too_few_rounds_prove_nothing() -> None:
    assert samples.verdict(samples.summarise(rounds(250.0, 250.0))) is Verdict.OPEN


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"load_core": 0.95}, "up to 95% busy"), ({"reached": 0.9}, "only 90% of the rate was reached")],
)
def test_an_overloaded_load_proves_nothing_and_is_told(changes: dict[str, float], said: str) -> None:
    summary = samples.summarise(rounds(250.0, 250.0, 250.0, **changes))
    assert samples.verdict(summary) is Verdict.OPEN
    assert all(said in doubt for doubt in samples.doubts(summary))
    assert len(samples.doubts(summary)) == len(summary)


def test_a_good_run_has_no_doubts() -> None:
    assert samples.doubts(samples.summarise(rounds(250.0, 250.0, 250.0))) == []
