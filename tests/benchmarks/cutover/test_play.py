from itertools import pairwise

import pytest

from benchmarks.cutover import play
from benchmarks.cutover.play import GAP_S, MARGIN_S
from bgproxy.demo.stage import StageError


def test_switches_leave_each_other_and_both_ends_alone() -> None:
    for _ in range(50):
        found = play.moments(20.0, 15)
        assert len(found) == 15
        assert found[0] >= MARGIN_S
        assert found[-1] <= 20.0 - MARGIN_S
        assert all(after - before >= GAP_S - 1e-9 for before, after in pairwise(found))


def test_switches_come_at_random_moments() -> None:
    assert play.moments(20.0, 5) != play.moments(20.0, 5)


def test_more_switches_than_there_is_time_for_are_refused() -> None:
    assert play.fits(12.1, 11)
    assert not play.fits(12.0, 11)
    with pytest.raises(StageError, match="11 switches do not fit into 12 s"):
        play.moments(12.0, 11)
