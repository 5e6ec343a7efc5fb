from pathlib import Path

import pytest

from benchmarks.faults import contenders
from benchmarks.faults.contenders import CONTENDERS, is_comparable

VALUES = {"workers": 2, "port": 8080, "connect": 300, "response": 1000}


def test_timeouts_are_told_in_milliseconds_and_default_to_those_of_bgproxy() -> None:
    assert contenders.milliseconds({"connect": "300ms"}) == {"connect": 300, "response": 30_000}
    assert contenders.milliseconds({"response_head": "1s", "idle": "9s"}) == {
        "connect": 1000,
        "response": 1000,
    }


def test_only_rows_that_all_can_be_told_of_are_compared() -> None:
    assert is_comparable({}, scripted=False)
    assert is_comparable({"timeouts": {"connect": "300ms"}}, scripted=False)
    assert not is_comparable({}, scripted=True)
    assert not is_comparable({"outlier": {}}, scripted=False)


@pytest.mark.parametrize("name", CONTENDERS)
@pytest.mark.parametrize("authority", ["", "/ca.pem"])
def test_a_contender_is_told_of_every_upstream(tmp_path: Path, name: str, authority: str) -> None:
    command = CONTENDERS[name](tmp_path, VALUES, ["127.0.0.1:1", "127.0.0.1:2"], authority)
    text = Path(command[-1]).read_text()
    assert "127.0.0.1:1" in text
    assert "127.0.0.1:2" in text
    assert ("/ca.pem" in text) is bool(authority)
