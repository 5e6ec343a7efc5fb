import pytest

from benchmarks.faults.__main__ import play
from benchmarks.faults.matrix import CLIENTS, MATRIX
from benchmarks.faults.misbehaviour import MISBEHAVIOURS

ROWS = {each.name: each for each in MATRIX}


def test_no_two_rows_have_the_same_name() -> None:
    assert len(ROWS) == len(MATRIX)


def test_every_way_to_misbehave_has_a_row() -> None:
    assert {each.fault for each in MATRIX} >= MISBEHAVIOURS.keys()


@pytest.mark.parametrize("name", ["closed before the answer", "reset in chunks", "Content-Length too small"])
def test_a_row_is_passed_on_a_real_bgproxy(name: str) -> None:
    row = play(ROWS[name], clients=CLIENTS // 5, requests=500)
    assert row["wrong"] == []
    assert row["requests"] == 500
