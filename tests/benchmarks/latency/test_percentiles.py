import pytest

from benchmarks.latency import percentiles


@pytest.mark.parametrize(
    ("percentile", "value"), [(0, 1), (50, 500), (99, 990), (99.9, 999), (99.99, 1000), (100, 1000)]
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percentile: float, value: int) -> None:
    assert percentiles.at(range(1, 1001), percentile) == value


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert set(percentiles.curve_us([7000]).values()) == {7.0}


def test_the_order_in_which_they_came_does_not_matter() -> None:
    curve = percentiles.curve_us([3000, 1000, 2000])
    assert (curve["p0"], curve["p50"], curve["p100"]) == (1.0, 2.0, 3.0)
    assert list(curve) == [percentiles.name(each) for each in percentiles.CURVE]
